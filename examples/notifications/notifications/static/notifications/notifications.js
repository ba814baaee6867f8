// The browser's side: shows what arrives, and sends the forms without leaving the page.

import { keepConnected, showState } from "../shared/connection.js";

const page = document.getElementById("page");
const state = document.getElementById("state");
const error = document.getElementById("error");
const list = document.getElementById("notifications");
const sending = document.getElementById("sending");
const reporting = document.getElementById("reporting");

const MOST = 100; // notifications that the page keeps

function append(notification) {
  // The steps of a job change the notification that it has already.
  const known = notification.job && list.querySelector(`[data-job="${CSS.escape(notification.job)}"]`);
  const item = known || document.createElement("li");
  item.className = "notification";
  if (notification.job) item.dataset.job = notification.job;

  const text = document.createElement("p");
  text.dir = "auto";
  text.textContent = notification.text;
  const now = new Date();
  const time = document.createElement("time");
  time.dateTime = now.toISOString();
  time.textContent = now.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  item.replaceChildren(text, time);

  if (notification.sender) {
    const sender = document.createElement("p");
    sender.className = "sender";
    sender.textContent = `from ${notification.sender}`;
    item.append(sender);
  }
  if (notification.progress !== undefined) {
    const progress = document.createElement("progress");
    progress.max = 100;
    progress.value = notification.progress;
    progress.setAttribute("aria-label", notification.text);
    item.append(progress);
  }
  if (known) return;
  list.querySelector(".empty")?.remove();
  list.prepend(item);
  if (list.childElementCount > MOST) list.lastElementChild.remove();
}

async function submit(form) {
  error.hidden = true;
  try {
    const response = await fetch(form.action, { method: "POST", body: new FormData(form) });
    if (response.redirected) location.reload(); // to the login page: the session has ended
    else if (response.status === 400) {
      const { errors } = await response.json();
      complain(Object.values(errors).flat().join(" "));
    } else if (!response.ok) complain(`The server answered with ${response.status}.`);
    else return true;
  } catch {
    complain("The server cannot be reached.");
  }
  return false;
}

function complain(text) {
  error.textContent = text;
  error.hidden = false;
}

sending.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await submit(sending)) sending.elements.text.value = "";
});

reporting.addEventListener("submit", (event) => {
  event.preventDefault();
  submit(reporting);
});

keepConnected(page.dataset.socketPath, {
  onmessage: (text) => append(JSON.parse(text)),
  onstate: (value, text) => showState(state, value, text),
  final: { 4401: "Not logged in any more: reload the page" },
});
