// Both directions. Each takes `report`, with
//   progress(bytes, total, waiting)   `waiting` are bytes that the browser has not given to the network
//   state(state, text)                of its connection
//   done(checksum, title)             the checksum that both sides found, or null if they differ
//   failed(text)
// and returns a function that stops it. What was lost with a connection is not sent again: both go on.

import { keepConnected } from "../shared/connection.js";
import { Sha256 } from "./sha256.js";

const CHUNK = 256 * 1024; // bytes of one message
const HIGH_WATER = 4 * 1024 * 1024; // bytes that may wait in the browser
const FOLD = 16 * 1024 * 1024; // bytes that are kept in memory before they become a part of a Blob
const LOOK_AGAIN = 10; // milliseconds

const FINAL = {
  1000: "Complete",
  4400: "The server does not take it",
  4404: "There is no such file any more",
};

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// crypto.randomUUID() is there on https and localhost only, not for a phone in the same network.
function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40; // version 4 (RFC 9562, section 5.4)
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

export function upload(file, report) {
  const digest = new Sha256();
  let round = 0; // counts connections: what was begun on one does not go on after it
  let finished = false;

  async function sendFrom(offset) {
    const mine = round;
    while (offset < file.size && mine === round) {
      if (connection.bufferedAmount() > HIGH_WATER) {
        await pause(LOOK_AGAIN);
        continue;
      }
      const data = await file.slice(offset, offset + CHUNK).arrayBuffer();
      if (mine !== round || !connection.send(data)) return;
      addFrom(offset, data);
      offset += data.byteLength;
    }
  }

  // What is sent a second time is in the digest already.
  function addFrom(offset, data) {
    const known = digest.length - offset;
    if (known < data.byteLength) digest.update(known > 0 ? data.slice(known) : data);
  }

  let sending = false;
  const connection = keepConnected(`/ws/upload/${uuid()}/`, {
    onmessage(text) {
      const { received, done } = JSON.parse(text);
      if (received !== undefined) report.progress(received, file.size, connection.bufferedAmount());
      if (done) {
        finished = true;
        const checksum = digest.hex();
        report.done(checksum === done.sha256 ? checksum : null, file.name);
      } else if (!sending) {
        sending = true;
        sendFrom(received).catch((error) => fail(`The file cannot be read: ${error.message}`));
      }
    },
    onstate(state, text) {
      round += 1;
      sending = false;
      report.state(state, text);
      if (state === "open") connection.send(JSON.stringify({ title: file.name, size: file.size }));
      else if (!finished && Object.values(FINAL).includes(text)) report.failed(text);
    },
    final: FINAL,
  });

  function fail(text) {
    stop();
    report.failed(text);
  }

  function stop() {
    round += 1;
    connection.close();
  }
  return stop;
}

export function download(file, report) {
  const digest = new Sha256();
  let parts = [];
  let folded = 0;

  function finish() {
    const checksum = digest.hex() === file.sha256 ? file.sha256 : null;
    report.done(checksum, file.title);
    if (checksum) save(new Blob(parts), file.title);
  }

  const connection = keepConnected(() => `/ws/download/${file.name}/?offset=${digest.length}`, {
    onmessage(data) {
      if (typeof data === "string") return; // what is known of the file already
      parts.push(data);
      digest.update(data);
      if (digest.length - folded > FOLD) {
        // The browser may put a Blob on the disk.
        parts = [new Blob(parts)];
        folded = digest.length;
      }
      report.progress(digest.length, file.size, 0);
    },
    onstate(state, text) {
      report.state(state, text);
      if (text === FINAL[1000]) finish();
      else if (Object.values(FINAL).includes(text)) report.failed(text);
    },
    final: FINAL,
  });
  return connection.close;
}

function save(blob, title) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = title;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
