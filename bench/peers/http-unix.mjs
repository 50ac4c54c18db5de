import { once } from 'node:events';
import http from 'node:http';

import { events, requests, streams } from '../support/handlers.mjs';

export const title = 'node:http, Unix socket';
export const endpointKind = 'unix';
/** Its connections come and go with the calls. */
export const without = ['connections'];

/** Enough for every scenario's concurrency to be felt, few enough for the server's backlog. */
const MOST_SOCKETS = 128;
const BYTES = 'application/octet-stream';

export async function startServer(endpoint) {
  const listeners = new Set();
  const answer = async (request, response) => {
    const name = request.url.slice(1);
    if (name === 'pushes') {
      response.flushHeaders();
      listeners.add(response);
      response.on('close', () => listeners.delete(response));
      return;
    }
    const body = await readBody(request);
    if (name in streams) {
      for (const item of streams[name](JSON.parse(body))) response.write(`${JSON.stringify(item)}\n`);
      response.end();
    } else if (request.headers['content-type'] === BYTES) {
      response.end(requests[name](body));
    } else {
      const handle = requests[name] ?? events[name];
      response.end(JSON.stringify(handle(JSON.parse(body)) ?? null));
    }
  };
  const options = { noDelay: true, keepAliveTimeout: 0 };
  const server = http.createServer(options, (request, response) => void answer(request, response));
  server.listen(endpoint);
  await once(server, 'listening');
  return {
    publish(data) {
      const line = `${JSON.stringify(data)}\n`;
      for (const response of listeners) response.write(line);
    },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

export function createClient({ path }) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: MOST_SOCKETS });
  const post = (name, body, headers) =>
    new Promise((resolve, reject) => {
      const options = { socketPath: path, path: `/${name}`, method: 'POST', agent, headers };
      http.request(options, resolve).on('error', reject).end(body);
    });
  const send = async (name, data) =>
    Buffer.isBuffer(data)
      ? readBody(await post(name, data, { 'content-type': BYTES }))
      : JSON.parse(await readBody(await post(name, JSON.stringify(data))));
  return {
    request: send,
    emit: (name, data) => void send(name, data),
    stream: async (name, data, onItem) => forEachLine(await post(name, JSON.stringify(data)), onItem),
    onPush: async (listener) => void forEachLine(await post('pushes'), listener),
    close: () => agent.destroy(),
  };
}

async function readBody(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
}

/** @param {(item: unknown) => void} onItem gets the JSON value of each line */
function forEachLine(response, onItem) {
  return new Promise((resolve, reject) => {
    let rest = '';
    response.setEncoding('utf8');
    response.on('data', (text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const line of lines) onItem(JSON.parse(line));
    });
    response.on('end', resolve);
    // The client's close ends the stream of pushes with it.
    response.on('error', reject);
  });
}
