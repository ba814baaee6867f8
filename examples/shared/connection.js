// A WebSocket that is opened again whenever it is lost, and what pages say about it.

const FIRST_DELAY = 500; // milliseconds before the first new attempt
const LONGEST_DELAY = 15_000;
const LASTING = 5_000; // a connection that has held for so long was a good one

// Milliseconds to wait after so many attempts that failed: twice as long after each, and never the same
// for all clients of a restarted server.
export function backoff(attempts) {
  const longest = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** attempts);
  return longest * (0.5 + Math.random() / 2);
}

// Shows the state of a connection in an element of the class "state".
export function showState(element, state, text) {
  element.dataset.state = state;
  element.textContent = text;
}

// Connects to a path of this page's server and stays connected.
//   path                 a string, or a function that is asked for it at every attempt
//   onmessage(data)      for every message: a string, or an ArrayBuffer
//   onstate(state, text) for every change; state is "connecting", "open" or "closed", text is for people
//   final                close codes after which there is no use in trying again, with the text to show
// Returns
//   send(data)           which tells whether the message could be sent
//   bufferedAmount()     bytes that were sent and are still in the browser
//   close()              for good
export function keepConnected(path, { onmessage, onstate, final = {} }) {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  let socket = null;
  let attempts = 0;
  let timer = null;

  function connect() {
    clearTimeout(timer);
    timer = null;
    onstate("connecting", "Connecting…");
    socket = new WebSocket(`${scheme}://${location.host}${typeof path === "function" ? path() : path}`);
    socket.binaryType = "arraybuffer";
    let opened = Infinity;
    socket.onopen = () => {
      opened = performance.now();
      onstate("open", "Connected");
    };
    socket.onmessage = (event) => onmessage(event.data);
    // An error is always followed by a close, which also tells the code.
    socket.onclose = (event) => {
      // A server that accepts and closes at once is as much of a failure as one that is not there.
      if (performance.now() - opened > LASTING) attempts = 0;
      if (event.code in final) onstate("closed", final[event.code]);
      else reconnectLater(event);
    };
  }

  function reconnectLater(event) {
    const delay = backoff(attempts);
    attempts += 1;
    timer = setTimeout(connect, delay);
    // Without a closing handshake there is no code from the server to show.
    const code = event.wasClean ? ` (${event.code})` : "";
    onstate("closed", `Offline${code} · retrying in ${Math.ceil(delay / 1000)} s`);
  }

  // The network is back: do not sit out the delay.
  function online() {
    if (timer !== null) connect();
  }
  window.addEventListener("online", online);

  connect();

  return {
    send(data) {
      if (socket.readyState !== WebSocket.OPEN) return false;
      socket.send(data);
      return true;
    },
    bufferedAmount: () => socket.bufferedAmount,
    close() {
      window.removeEventListener("online", online);
      clearTimeout(timer);
      timer = null;
      socket.onmessage = socket.onclose = socket.onopen = null;
      socket.close();
    },
  };
}
