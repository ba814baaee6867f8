// The browser's side of a room: one WebSocket, opened again whenever it is lost.

const FIRST_DELAY = 500; // milliseconds before the first new attempt
const LONGEST_DELAY = 15_000;

const room = document.getElementById("room");
const state = document.getElementById("state");
const log = document.getElementById("log");
const composer = document.getElementById("composer");
const nameField = document.getElementById("name");
const messageField = document.getElementById("message");
const sendButton = document.getElementById("send");

const scheme = location.protocol === "https:" ? "wss" : "ws";
const address = `${scheme}://${location.host}${room.dataset.socketPath}`;

let socket = null;
let attempts = 0;
let timer = null;

function connect() {
  clearTimeout(timer);
  timer = null;
  show("connecting", "Connecting…");
  socket = new WebSocket(address);
  socket.onopen = () => {
    attempts = 0;
    show("open", "Connected");
  };
  socket.onmessage = (event) => append(JSON.parse(event.data));
  // An error is always followed by a close, which also tells the code.
  socket.onclose = reconnectLater;
}

function reconnectLater(event) {
  // Twice as long after each failure, and never the same for all clients of a restarted server.
  const longest = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** attempts);
  const delay = longest * (0.5 + Math.random() / 2);
  attempts += 1;
  timer = setTimeout(connect, delay);
  // Without a closing handshake there is no code from the server to show.
  const code = event.wasClean ? ` (${event.code})` : "";
  show("closed", `Offline${code} · retrying in ${Math.ceil(delay / 1000)} s`);
}

// The network is back: do not sit out the delay.
window.addEventListener("online", () => {
  if (timer !== null) connect();
});

function show(value, text) {
  state.dataset.state = value;
  state.textContent = text;
  sendButton.disabled = value !== "open";
}

function append({ message, name, own }) {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  log.querySelector(".empty")?.remove();

  const author = name || "Anonymous";
  const follows = log.lastElementChild?.dataset.author === `${own} ${author}`;

  const item = document.createElement("li");
  item.className = own ? "message own" : "message";
  item.classList.toggle("follows", follows);
  item.dataset.author = `${own} ${author}`;
  item.style.setProperty("--hue", hue(author));

  const bubble = document.createElement("p");
  bubble.className = "bubble";
  bubble.dir = "auto";
  bubble.textContent = message;

  const now = new Date();
  const time = document.createElement("time");
  time.dateTime = now.toISOString();
  time.textContent = now.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

  if (!follows) {
    const byline = document.createElement("p");
    byline.className = "author";
    byline.textContent = own ? "You" : author;
    item.append(byline);
  }
  item.append(bubble, time);
  log.append(item);
  if (own || atEnd) log.scrollTop = log.scrollHeight;
}

// The same name has the same colour everywhere.
function hue(text) {
  let sum = 0;
  for (const character of text) sum = (sum * 31 + character.codePointAt(0)) % 360;
  return sum;
}

nameField.value = localStorage.getItem("chat-name") ?? "";
nameField.addEventListener("change", () => localStorage.setItem("chat-name", nameField.value));

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  const message = messageField.value.trim();
  if (message === "" || socket.readyState !== WebSocket.OPEN) return;
  socket.send(JSON.stringify({ message, name: nameField.value.trim() }));
  messageField.value = "";
  messageField.focus();
});

connect();
