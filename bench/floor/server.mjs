import { once } from 'node:events';
import net from 'node:net';

import { failureText, responseText } from './envelope.mjs';
import { FrameReader } from './frame-reader.mjs';
import { FrameWriter } from './frame-writer.mjs';

/**
 * The least a server of our wire can do: no Nest, no promise, no limits, no timers.
 * @param {net.ListenOptions} endpoint
 * @param {Record<string, (data: unknown) => unknown>} handlers answer synchronously
 */
export async function startFloorServer(endpoint, handlers) {
  const handlerOf = new Map(Object.entries(handlers));
  const sockets = new Set();
  const server = net.createServer({ noDelay: true }, (socket) => {
    const writer = new FrameWriter(socket);
    const reader = new FrameReader((text) => {
      const message = JSON.parse(text);
      if (message.msg_type !== 'request') return;
      const handler = handlerOf.get(message.data.type);
      writer.send(
        handler === undefined
          ? failureText(message.request_id, 'Unknown request type')
          : responseText(message.request_id, handler(message.data.data)),
      );
    });
    sockets.add(socket);
    socket.on('data', (chunk) => reader.push(chunk));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => sockets.delete(socket));
    writer.send(responseText('', { account_id: 'floor', conn_id: '00000000' }));
  });
  server.listen(endpoint);
  await once(server, 'listening');
  return {
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
