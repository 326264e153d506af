// A client of another make: the official socket.io-client. Prints a JSON line for each event.
// Arguments: URL, transport (websocket or polling), file with the certificates to trust.
const { readFileSync } = require('node:fs');
const { io } = require('socket.io-client');

const [url, transport, ca] = process.argv.slice(2);
const socket = io(`${url}/fsync`, {
  transports: [transport],
  auth: { protocol: 1, agent: 'browser' },
  ca: readFileSync(ca),
  // Keeps the sticky cookie, as a browser does.
  withCredentials: true,
  reconnectionDelay: 100,
  reconnectionDelayMax: 500,
});
const say = (event, data) => console.log(JSON.stringify({ event, data }));
let id = 0;
socket.on('connect', () => {
  say('connect', socket.io.engine.transport.name);
  id += 1;
  socket.emit('subscribe', { id, trees: [{ tree: 'default/docs' }] });
});
socket.on('disconnect', (reason) => say('disconnect', reason));
socket.on('connect_error', (error) => say('connect_error', String(error.message)));
for (const event of ['heads', 'ref', 'bye', 'error']) {
  socket.on(event, (data) => say(event, data));
}
