// The browser's side of a room.

import { keepConnected, showState } from "../shared/connection.js";

const room = document.getElementById("room");
const state = document.getElementById("state");
const log = document.getElementById("log");
const composer = document.getElementById("composer");
const nameField = document.getElementById("name");
const messageField = document.getElementById("message");
const sendButton = document.getElementById("send");

function show(value, text) {
  showState(state, value, text);
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
  if (message === "" || !send(JSON.stringify({ message, name: nameField.value.trim() }))) return;
  messageField.value = "";
  messageField.focus();
});

const { send } = keepConnected(room.dataset.socketPath, {
  onmessage: (text) => append(JSON.parse(text)),
  onstate: show,
});
