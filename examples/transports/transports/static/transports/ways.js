// The four ways. Each is a function of
//   address(path)          the address of a path for the events that are still missing
//   onevent(event)         to be called for every event
//   onstate(state, text)   to be called for every change of the connection
//   pause()                milliseconds between two polls
// and returns a function that ends it.

import { backoff, keepConnected } from "../shared/connection.js";

export function polling({ address, onevent, onstate, pause }) {
  return askAgain({ address: () => address("/events/poll/"), onevent, onstate, pause });
}

export function longPolling({ address, onevent, onstate }) {
  return askAgain({ address: () => address("/events/long-poll/"), onevent, onstate, pause: () => 0 });
}

// One request after another, with a pause between them.
function askAgain({ address, onevent, onstate, pause }) {
  const abort = new AbortController();
  let timer = null;
  let failures = 0;

  async function ask() {
    try {
      const response = await fetch(address(), { signal: abort.signal });
      if (!response.ok) throw new Error(`the server answered with ${response.status}`);
      const { events } = await response.json();
      failures = 0;
      onstate("open", "Connected");
      events.forEach(onevent);
      timer = setTimeout(ask, pause());
    } catch {
      if (abort.signal.aborted) return;
      const delay = backoff(failures);
      failures += 1;
      onstate("closed", `Offline · retrying in ${Math.ceil(delay / 1000)} s`);
      timer = setTimeout(ask, delay);
    }
  }

  onstate("connecting", "Connecting…");
  ask();
  return () => {
    clearTimeout(timer);
    abort.abort();
  };
}

// Server-sent events. The browser opens a lost stream again by itself, and says which event was the last.
export function serverSentEvents({ address, onevent, onstate }) {
  let source = null;
  let timer = null;
  let failures = 0;

  function open() {
    onstate("connecting", "Connecting…");
    source = new EventSource(address("/events/stream/"));
    source.onopen = () => {
      failures = 0;
      onstate("open", "Connected");
    };
    source.onmessage = (message) => onevent(JSON.parse(message.data));
    source.onerror = () => {
      if (source.readyState === EventSource.CONNECTING) onstate("closed", "Offline · retrying in 1 s");
      else retryLater(); // the browser has given up: the answer was no event stream
    };
  }

  function retryLater() {
    const delay = backoff(failures);
    failures += 1;
    onstate("closed", `Offline · retrying in ${Math.ceil(delay / 1000)} s`);
    timer = setTimeout(open, delay);
  }

  open();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}

export function webSocket({ address, onevent, onstate }) {
  const connection = keepConnected(() => address("/events/socket/"), {
    onmessage: (text) => onevent(JSON.parse(text)),
    onstate,
  });
  return connection.close;
}
