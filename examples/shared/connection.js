// A WebSocket that is opened again whenever it is lost.

const FIRST_DELAY = 500; // milliseconds before the first new attempt
const LONGEST_DELAY = 15_000;

// Connects to a path of this page's server and stays connected.
//   onmessage(text)     for every message
//   onstate(state, text) for every change; state is "connecting", "open" or "closed", text is for people
//   final               close codes after which there is no use in trying again, with the text to show
// Returns send(text), which tells whether the message could be sent.
export function keepConnected(path, { onmessage, onstate, final = {} }) {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const address = `${scheme}://${location.host}${path}`;
  let socket = null;
  let attempts = 0;
  let timer = null;

  function connect() {
    clearTimeout(timer);
    timer = null;
    onstate("connecting", "Connecting…");
    socket = new WebSocket(address);
    socket.onopen = () => {
      attempts = 0;
      onstate("open", "Connected");
    };
    socket.onmessage = (event) => onmessage(event.data);
    // An error is always followed by a close, which also tells the code.
    socket.onclose = (event) => {
      if (event.code in final) onstate("closed", final[event.code]);
      else reconnectLater(event);
    };
  }

  function reconnectLater(event) {
    // Twice as long after each failure, and never the same for all clients of a restarted server.
    const longest = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** attempts);
    const delay = longest * (0.5 + Math.random() / 2);
    attempts += 1;
    timer = setTimeout(connect, delay);
    // Without a closing handshake there is no code from the server to show.
    const code = event.wasClean ? ` (${event.code})` : "";
    onstate("closed", `Offline${code} · retrying in ${Math.ceil(delay / 1000)} s`);
  }

  // The network is back: do not sit out the delay.
  window.addEventListener("online", () => {
    if (timer !== null) connect();
  });

  connect();

  return (text) => {
    if (socket.readyState !== WebSocket.OPEN) return false;
    socket.send(text);
    return true;
  };
}
