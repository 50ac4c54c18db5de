import { once } from 'node:events';
import net from 'node:net';

import { HEAD_BYTES } from './binary.mjs';
import { pushText, responseText } from './envelope.mjs';
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

  const onMessage = (writer, { msg_type, request_id, data: { type, data } }) => {
    if (msg_type === 'push') {
      eventOf.get(type)(data);
      return;
    }
    const handle = requestOf.get(type);
    if (handle !== undefined) {
      writer.sendData(handle(data), (json) => responseText(request_id, json));
      return;
    }
    for (const item of streamOf.get(type)(data))
      writer.send(responseText(request_id, JSON.stringify(item), ',"more":true'));
    writer.send(responseText(request_id, 'null', ',"end":true'));
  };

  const server = net.createServer({ noDelay: true }, (socket) => {
    const writer = new FrameWriter(socket);
    const reader = new FrameReader(
      (message) => onMessage(writer, message),
      (body) =>
        writer.sendBinary(body.subarray(0, HEAD_BYTES), requests.echoBytes(body.subarray(HEAD_BYTES))),
    );
    writers.set(socket, writer);
    socket.on('data', (chunk) => reader.push(chunk));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => writers.delete(socket));
    writer.send(responseText('', '{"account_id":"floor","conn_id":"00000000"}'));
  });
  server.listen(endpoint);
  await once(server, 'listening');
  return {
    /** To every client, encoded once. */
    publish(data) {
      const frame = frameOf(pushText('tick', JSON.stringify(data)));
      for (const writer of writers.values()) writer.sendFrame(frame);
    },
    async close() {
      for (const socket of writers.keys()) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
