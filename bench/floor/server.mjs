import { once } from 'node:events';
import net from 'node:net';

import { answerHead, BINARY, callHead, END, MORE, PUSH, RESPONSE } from './envelope.mjs';
import { FrameReader } from './frame-reader.mjs';
import { frameOf, FrameWriter } from './frame-writer.mjs';

/**
 * The least a server of our wire can do: no Nest, no promise, no limits, no timers.
 * @param {net.ListenOptions} endpoint
 * @param {{ requests: object, events: object, streams: object }} handlers answer synchronously
 */
export async function startFloorServer(endpoint, { requests, events, streams }) {
  const requestOf = new Map(Object.entries(requests));
  const eventOf = new Map(Object.entries(events));
  const streamOf = new Map(Object.entries(streams));
  const writers = new Map();

  const onMessage = (writer, kind, id, type, data) => {
    if (kind === PUSH) {
      eventOf.get(type)(data);
      return;
    }
    const handle = requestOf.get(type);
    if (handle !== undefined) {
      const result = handle(data);
      if (Buffer.isBuffer(result)) writer.sendBytes(answerHead(RESPONSE | BINARY, id), result);
      else writer.sendValue(answerHead(RESPONSE, id), result);
      return;
    }
    for (const item of streamOf.get(type)(data)) writer.send(answerHead(MORE, id) + JSON.stringify(item));
    writer.send(answerHead(END, id));
  };

  const server = net.createServer({ noDelay: true }, (socket) => {
    const writer = new FrameWriter(socket);
    const reader = new FrameReader((kind, id, type, data) => onMessage(writer, kind, id, type, data));
    writers.set(socket, writer);
    socket.on('data', (chunk) => reader.push(chunk));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => writers.delete(socket));
    writer.sendValue(answerHead(RESPONSE, ''), 'hello');
  });
  server.listen(endpoint);
  await once(server, 'listening');
  return {
    /** To every client, encoded once. */
    publish(data) {
      const frame = frameOf(callHead(PUSH, '', 'tick') + JSON.stringify(data));
      for (const writer of writers.values()) writer.sendFrame(frame);
    },
    async close() {
      for (const socket of writers.keys()) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
