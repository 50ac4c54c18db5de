import { once } from 'node:events';

import { IPCModule } from 'node-ipc';

import { events, requests, streams } from '../support/handlers.mjs';
import { Pending } from '../support/pending.mjs';

export const title = 'node-ipc 14';
export const endpointKind = 'unix';

function createIpc() {
  const ipc = new IPCModule();
  ipc.config.silent = true;
  return ipc;
}

export async function startServer({ path }) {
  const ipc = createIpc();
  const listening = new Promise((resolve) => ipc.serve(path, resolve));
  const { server } = ipc;
  for (const [name, handle] of Object.entries(requests)) {
    server.on(name, ({ slot, data }, socket) => server.emit(socket, 'answer', { slot, data: handle(data) }));
  }
  for (const [name, handle] of Object.entries(events)) server.on(name, handle);
  for (const [name, items] of Object.entries(streams)) {
    server.on(name, ({ slot, data }, socket) => {
      for (const item of items(data)) server.emit(socket, 'item', { slot, data: item });
      server.emit(socket, 'answer', { slot });
    });
  }
  server.start();
  await listening;
  return { publish: (data) => void server.broadcast('tick', data), close: () => server.stop() };
}

export async function createClient({ path }) {
  const ipc = createIpc();
  ipc.connectTo('server', path);
  const connection = ipc.of.server;
  const pending = new Pending();
  connection.on('answer', ({ slot, data }) => pending.resolve(slot, data));
  connection.on('item', ({ slot, data }) => pending.onItem(slot, data));
  await once(connection.socket, 'connect');
  const send = (name, data, onItem) => pending.start((slot) => connection.emit(name, { slot, data }), onItem);
  return {
    request: send,
    emit: (name, data) => void connection.emit(name, data),
    stream: send,
    onPush: (listener) => void connection.on('tick', listener),
    close: () => ipc.disconnect('server'),
  };
}
