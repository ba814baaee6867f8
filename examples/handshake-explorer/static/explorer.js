// Asks the server about keys and frames, and shows its talks with itself.

import { keepConnected, showState } from "../shared/connection.js";
import { frameView } from "./layout.js";

const get = (id) => document.getElementById(id);
const MASK = "37fa213d"; // the one of the examples in RFC 6455, section 5.7
const talks = [...get("talks").children];
const problems = ["key-problem", "frame-problem", "talk-problem"].map(get);

// Where to write when the server cannot answer: under what was asked last.
let asked = problems[0];

function ask(question, problem) {
  asked = problem;
  problem.textContent = "";
  return send(JSON.stringify(question));
}

const askKey = () => ask({ accept: get("key").value }, get("key-problem"));
const askFrame = () => ask({ frame: frameOfForm() }, get("frame-problem"));

function frameOfForm() {
  return {
    opcode: Number(get("opcode").value),
    text: get("text").value,
    times: Number(get("times").value),
    fin: get("fin").checked,
    rsv1: get("rsv1").checked,
    mask: get("masked").checked ? MASK : null,
  };
}

const answers = {
  accept({ key, problem, joined, sha1, accept }) {
    get("key-problem").textContent = problem ?? "";
    const guid = document.createElement("mark");
    guid.textContent = joined.slice(key.length);
    get("joined").replaceChildren(key, guid);
    get("sha1").textContent = sha1.match(/../g).join(" ");
    get("accept").textContent = accept;
  },
  frame({ layout, readings }) {
    get("frame").replaceChildren(frameView(layout));
    get("server-reading").textContent = readings.server;
    get("client-reading").textContent = readings.client;
  },
  step({ by = "nobody", text, layout, note }) {
    const item = document.createElement("li");
    item.className = `by-${by}`;
    if (note) item.textContent = note;
    else {
      const speaker = document.createElement("b");
      speaker.textContent = by === "client" ? "Client" : "Server";
      item.append(speaker);
    }
    if (layout) item.append(frameView(layout, { folded: true }));
    if (text) {
      const lines = document.createElement("pre");
      lines.className = "code";
      lines.textContent = text.trimEnd();
      item.append(lines);
    }
    get("transcript").append(item);
  },
  talked: () => enable(true),
  error(text) {
    asked.textContent = text;
    enable(true);
  },
};

function enable(can) {
  for (const button of talks) button.disabled = !can;
}

get("talks").addEventListener("click", (event) => {
  const { talk } = event.target.dataset;
  if (!talk) return;
  get("transcript").replaceChildren();
  get("transcript").hidden = false;
  for (const button of talks) button.setAttribute("aria-pressed", String(button === event.target));
  enable(false);
  ask({ talk, frame: frameOfForm() }, get("talk-problem"));
});

get("key").addEventListener("input", askKey);
get("random").addEventListener("click", () => {
  get("key").value = btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16))));
  askKey();
});
get("frame-form").addEventListener("input", askFrame);
get("frame-form").addEventListener("submit", (event) => event.preventDefault());

const { send } = keepConnected("/explorer", {
  onmessage(text) {
    for (const [name, answer] of Object.entries(JSON.parse(text))) answers[name](answer);
  },
  onstate(state, text) {
    showState(get("state"), state, text);
    enable(state === "open");
    if (state !== "open") return;
    askKey();
    askFrame();
  },
});
