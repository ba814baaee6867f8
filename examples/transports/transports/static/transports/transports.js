// The same events over four ways at once, and what each way costs.

import { showState } from "../shared/connection.js";
import { draw, short } from "./chart.js";
import { longPolling, polling, serverSentEvents, webSocket } from "./ways.js";

const WAYS = [
  { name: "poll", title: "Polling", about: "Asks again and again; most answers are empty.", start: polling },
  { name: "long-poll", title: "Long polling", about: "The answer waits for the event.", start: longPolling },
  { name: "stream", title: "Server-sent events", about: "One endless answer.", start: serverSentEvents },
  { name: "socket", title: "WebSocket", about: "One connection, both directions, frames.", start: webSocket },
];
const SHOWN = 60_000; // milliseconds that the charts go back
const NOTHING = { requests: 0, from_client: 0, to_client: 0 };
const LATENCIES = 50; // of each way, that the median is of

const page = document.getElementById("page");
const interval = document.getElementById("interval");
const running = document.getElementById("running");
const happened = document.getElementById("happened");
const since = document.getElementById("since");

// The server counts for each open page by this name.
const visitor = Array.from(crypto.getRandomValues(new Uint8Array(8)), hexadecimal).join("");

// Milliseconds that the server's clock is ahead of this one, and how sure that is.
const clock = { ahead: 0, within: Infinity };

function hexadecimal(byte) {
  return byte.toString(16).padStart(2, "0");
}

const now = () => performance.timeOrigin + performance.now();
const first = Number(page.dataset.number);

function add(way) {
  const card = document.getElementById("way").content.cloneNode(true).firstElementChild;
  const find = (name) => card.querySelector(`.${name}`);
  card.classList.add(`way-${way.name}`);
  card.querySelector("h2").textContent = way.title;
  find("about").textContent = way.about;
  document.getElementById("ways").append(card);
  Object.assign(way, { find, last: first, events: 0, latencies: [], requests: [], bytes: [], stop: null });
  Object.assign(way, { before: NOTHING, counted: NOTHING });
}

function start(way) {
  way.stop = way.start({
    address: (path) => `${path}?after=${way.last}&visitor=${visitor}`,
    onevent: (event) => receive(way, event),
    onstate: (state, text) => showState(way.find("state"), state, text),
    pause: () => Number(interval.value),
  });
}

// Changes nothing that is visible: what comes second would wait until the browser has drawn the first.
function receive(way, event) {
  // After a reconnect, one that is known may come again.
  if (event.number <= way.last) return;
  way.last = event.number;
  way.events += 1;
  way.latencies.push([now(), Math.max(0, now() + clock.ahead - event.time)]);
  way.text = event.text;
}

async function measure() {
  const asked = now();
  let answer;
  try {
    answer = await (await fetch(`/costs/?visitor=${visitor}`)).json();
  } catch {
    return; // each way says itself that the server cannot be reached
  }
  const answered = now();
  if (answered - asked < clock.within) {
    clock.within = answered - asked;
    clock.ahead = answer.time - (asked + answered) / 2;
  }
  for (const way of WAYS) if (way.name in answer.costs) show(way, answer.costs[way.name], answered);
}

function show(way, cost, time) {
  // A server that was started anew counts from zero; what was before still counts here.
  if (cost.from_client < way.counted.from_client) way.before = totals(way);
  way.counted = cost;
  const { requests, from_client, to_client } = totals(way);
  const bytes = from_client + to_client;
  way.requests.push([time, requests]);
  way.bytes.push([time, bytes]);
  way.find("requests").textContent = requests.toLocaleString();
  way.find("out").textContent = from_client.toLocaleString();
  way.find("in").textContent = to_client.toLocaleString();
  way.find("each").textContent = way.events ? Math.round(bytes / way.events).toLocaleString() : "–";
}

function totals({ before, counted }) {
  return {
    requests: before.requests + counted.requests,
    from_client: before.from_client + counted.from_client,
    to_client: before.to_client + counted.to_client,
  };
}

function drawEvents() {
  for (const way of WAYS.filter(({ events }) => events > 0)) {
    way.find("last").textContent = way.text;
    const recent = way.latencies.slice(-LATENCIES).map(([, value]) => value);
    way.find("median").textContent = duration(median(recent));
  }
  happened.textContent = Math.max(...WAYS.map(({ events }) => events));
}

function drawCharts() {
  const to = now();
  const from = to - SHOWN;
  for (const what of ["requests", "bytes", "latencies"]) {
    for (const way of WAYS) {
      // The last point before the edge stays, so that the line reaches it.
      const visible = way[what].findIndex(([time]) => time >= from);
      if (visible > 1) way[what].splice(0, visible - 1);
    }
  }
  const series = (what) => WAYS.map((way) => ({ name: way.name, points: way[what] }));
  const told = (name) => WAYS.map((way) => `${way.title} ${way.find(name).textContent}`).join(", ");
  const charts = {
    requests: { series: series("requests"), label: `Requests: ${told("requests")}` },
    bytes: { series: series("bytes"), label: bytesLabel() },
    latency: { series: series("latencies"), label: `Median latency: ${told("median")}`, logarithmic: true },
  };
  for (const [id, chart] of Object.entries(charts)) draw(document.getElementById(id), { ...chart, from, to });
}

function bytesLabel() {
  const totals = WAYS.map((way) => `${way.title} ${short(way.bytes.at(-1)?.[1] ?? 0)}`);
  return `Bytes: ${totals.join(", ")}`;
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

function duration(milliseconds) {
  return milliseconds < 10 ? `${milliseconds.toFixed(1)} ms` : `${Math.round(milliseconds)} ms`;
}

running.addEventListener("click", () => {
  const pausing = WAYS[0].stop !== null;
  running.textContent = pausing ? "Go on" : "Pause";
  running.setAttribute("aria-pressed", String(pausing));
  for (const way of WAYS) {
    if (!pausing) start(way);
    else {
      way.stop();
      way.stop = null;
      showState(way.find("state"), "closed", "Paused");
    }
  }
});

const begun = new Date();
since.dateTime = begun.toISOString();
since.textContent = begun.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
await measure(); // the clock, before the first event
for (const way of WAYS) {
  add(way);
  start(way);
}
setInterval(measure, 1000);
setInterval(() => {
  drawEvents();
  drawCharts();
}, 250);
