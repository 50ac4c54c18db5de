import { openSync, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { SocketServerOptions } from '../../../lib/options/server-options.js';
import { SocketServer, type ServerCloseReport } from '../../../lib/index.js';
import { readOptions, report, takeOrders } from './commands.js';

/** A server that writes down what it runs, before it answers, in a file that outlives it. */
const { ledger, ...options } = readOptions<SocketServerOptions & { ledger: string }>();
const file = openSync(ledger, 'a');
const server = new SocketServer(options);

server.handle('run', async ({ label, ms }: { label: string; ms: number }) => {
  // One write of less than a page to a file opened for appending: whole or not at all, whatever kills us.
  writeSync(file, `${label}\n`);
  await delay(ms);
  return label;
});

export const commands = {
  listen: (): Promise<void> => server.listen(),
  close: (): Promise<ServerCloseReport> => server.close(),
};

takeOrders(commands);
report({ event: 'opened' });
