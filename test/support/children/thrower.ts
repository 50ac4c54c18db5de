import { setTimeout as delay } from 'node:timers/promises';
import { Link, request, SocketServer } from '../../../lib/index.js';
import { readOptions, report, takeOrders } from './commands.js';

/** A client and a server whose listeners throw, all of them. */
const { path } = readOptions<{ path: string }>();

process.on('uncaughtException', ({ message }) => report({ event: 'uncaught', message }));

function thrower(name: string): () => never {
  return () => {
    throw new Error(name);
  };
}

const server = new SocketServer(
  { path },
  { onConnect: thrower('server connect'), onDisconnect: thrower('server disconnect') },
);
server.handle('echo', (data) => data);
const link = new Link(
  { path, reconnect: { initialDelayMs: 1 } },
  {
    onState: thrower('state'),
    onConnect: thrower('connect'),
    onDisconnect: thrower('disconnect'),
    onRetry: thrower('retry'),
  },
);

export const commands = {
  /** The answers over a connection, and over the next one after it was ended. */
  async run(): Promise<unknown[]> {
    await server.listen();
    const answers = [await request(link, 'echo', 'first')];
    for (const connection of server.connections()) connection.close();
    while (link.isConnected) await delay(1);
    answers.push(await request(link, 'echo', 'second'));
    await Promise.all([link.close(), server.close()]);
    return answers;
  },
};

takeOrders(commands);
