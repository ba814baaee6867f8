// The browser's side: a table of prices that is drawn as often as the screen is, not once per message.

import { keepConnected, showState } from "../shared/connection.js";

const SVG = "http://www.w3.org/2000/svg";
const KEPT = 120; // prices of each share in its line

const page = document.getElementById("page");
const state = document.getElementById("state");
const rate = document.getElementById("rate");
const table = document.getElementById("shares");

const shares = new Map(); // name: { prices, and the elements that show them }
let number = 0;
let messages = 0;
let drawing = false;

function receive(text) {
  messages += 1;
  const message = JSON.parse(text);
  if (message.history) begin(message);
  // A step that was pushed while the history was on its way is in it already.
  else if (message.number > number) step(message);
  if (!drawing) {
    drawing = true;
    requestAnimationFrame(draw);
  }
}

function begin(message) {
  number = message.number;
  for (const [name, prices] of Object.entries(message.history)) {
    if (!shares.has(name)) shares.set(name, addRow(name));
    shares.get(name).prices = prices;
  }
}

function step(message) {
  number = message.number;
  for (const [name, price] of Object.entries(message.prices)) {
    const { prices } = shares.get(name);
    prices.push(price);
    if (prices.length > KEPT) prices.shift();
  }
}

function addRow(name) {
  const row = table.insertRow();
  const heading = document.createElement("th");
  heading.scope = "row";
  heading.textContent = name;
  row.append(heading);

  const price = row.insertCell();
  const change = row.insertCell();
  const line = document.createElementNS(SVG, "polyline");
  const drawingArea = document.createElementNS(SVG, "svg");
  drawingArea.setAttribute("viewBox", `0 0 ${KEPT - 1} 1`);
  drawingArea.setAttribute("preserveAspectRatio", "none");
  drawingArea.setAttribute("aria-hidden", "true");
  drawingArea.append(line);
  const course = row.insertCell();
  course.append(drawingArea);
  return { price, change, line, course };
}

function draw() {
  drawing = false;
  for (const { prices, price, change, line, course } of shares.values()) {
    const last = prices.at(-1);
    const percent = 100 * (last / prices[0] - 1);
    const direction = percent < 0 ? "down" : "up";
    price.textContent = last.toFixed(2);
    change.textContent = `${percent < 0 ? "▼" : "▲"} ${Math.abs(percent).toFixed(2)} %`;
    change.className = course.className = direction;

    const least = Math.min(...prices);
    const span = Math.max(...prices) - least || 1;
    line.setAttribute("points", prices.map((value, i) => `${i},${1 - (value - least) / span}`).join(" "));
  }
}

setInterval(() => {
  rate.textContent = messages;
  messages = 0;
}, 1000);

keepConnected(page.dataset.socketPath, {
  onmessage: receive,
  onstate: (value, text) => {
    showState(state, value, text);
    page.toggleAttribute("data-stale", value !== "open");
  },
});
