// A WebSocket to this page's server, and what happens to it: the type of each event, the readyState that a
// handler sees, and what the event carries.
window.recorded = (path, protocols = []) => {
  const socket = new WebSocket(location.origin.replace("http", "ws") + path, protocols);
  const events = [["new", socket.readyState]];
  const record = (event, ...carried) => events.push([event.type, socket.readyState, ...carried]);
  socket.onmessage = (event) => record(event, event.data);
  socket.onerror = (event) => record(event);
  socket.onclose = (event) => record(event, event.code, event.reason, event.wasClean);
  socket.onopen = (event) => record(event);
  const next = (type) => new Promise((resolve) => socket.addEventListener(type, resolve, { once: true }));
  return { socket, events, next };
};
