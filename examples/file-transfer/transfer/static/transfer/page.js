// The page around the transfers: the list of files, and how far everything is.

import { keepConnected, showState } from "../shared/connection.js";
import { download, upload } from "./transfers.js";

const get = (id) => document.getElementById(id);
const UNITS = ["bytes", "KB", "MB", "GB", "TB"];

function size(bytes) {
  const unit = bytes < 1000 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(bytes) / 3));
  return `${unit ? (bytes / 1000 ** unit).toPrecision(3) : bytes} ${UNITS[unit]}`;
}

function show(list, template, { first = false } = {}) {
  get(list).querySelector(".empty")?.remove();
  const item = get(template).content.cloneNode(true).firstElementChild;
  if (first) get(list).prepend(item);
  else get(list).append(item);
  return (name) => item.querySelector(name);
}

function addFile(file, options) {
  const find = show("files", "file", options);
  find(".title").textContent = file.title;
  find(".figures").textContent = size(file.size);
  find(".checksum").textContent = `SHA-256 ${file.sha256}`;
  find("button").setAttribute("aria-label", `Download ${file.title}`);
  find("button").addEventListener("click", () => begin(file.title, (report) => download(file, report)));
}

// Shows a transfer that `start(report)` begins.
function begin(title, start) {
  const find = show("transfers", "transfer", { first: true });
  const button = find(".stop");
  const speed = speedometer();
  find(".title").textContent = title;
  find("progress").setAttribute("aria-label", title);
  button.setAttribute("aria-label", `Stop ${title}`);

  let ended = false;
  const end = (state, text) => {
    ended = true;
    showState(find(".state"), state, text);
    button.remove();
  };
  const stop = start({
    progress(bytes, total, waiting) {
      find("progress").value = total ? bytes / total : 1;
      const behind = waiting ? ` · ${size(waiting)} wait in the browser` : "";
      find(".figures").textContent = `${size(bytes)} of ${size(total)} · ${size(speed(bytes))}/s${behind}`;
    },
    state(state, text) {
      if (!ended) showState(find(".state"), state, state === "open" ? "Under way" : text);
    },
    done(checksum) {
      find("progress").value = 1;
      find(".checksum").hidden = false;
      find(".checksum").textContent = checksum ? `SHA-256 ${checksum} ✓ both sides` : "";
      if (checksum) end("open", "Complete");
      else end("closed", "Broken: the checksums differ");
    },
    failed: (text) => end("closed", text),
  });
  button.addEventListener("click", () => {
    stop();
    end("closed", "Stopped");
  });
}

// Bytes per second, over the last seconds.
function speedometer() {
  const points = [];
  return (bytes) => {
    const now = performance.now();
    points.push([now, bytes]);
    while (points.length > 2 && now - points[0][0] > 2000) points.shift();
    const [time, before] = points[0];
    return now > time ? Math.round((1000 * (bytes - before)) / (now - time)) : 0;
  };
}

function uploadAll(files) {
  for (const file of files) begin(file.name, (report) => upload(file, report));
}

get("choose").addEventListener("change", () => {
  uploadAll(get("choose").files);
  get("choose").value = "";
});

const drop = get("drop");
for (const kind of ["dragover", "dragleave", "drop"]) {
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop") uploadAll(event.dataTransfer.files);
  });
}

keepConnected(get("page").dataset.socketPath, {
  onmessage(text) {
    const { files, added } = JSON.parse(text);
    if (added) addFile(added, { first: true });
    if (!files) return;
    get("files").querySelectorAll("li:not(.empty)").forEach((item) => item.remove());
    files.forEach((file) => addFile(file));
  },
  onstate: (state, text) => showState(get("state"), state, text),
});
