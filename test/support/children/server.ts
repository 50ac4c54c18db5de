import { setTimeout as delay } from 'node:timers/promises';
import { endpointLabel } from '../../../lib/options/endpoint.js';
import type { SocketServerOptions } from '../../../lib/options/server-options.js';
import type { IncomingCall } from '../../../lib/calls/incoming-call.js';
import type { ServerStats } from '../../../lib/server/server-reports.js';
import { SocketServer } from '../../../lib/server/socket-server.js';
import { block, readOptions, report, takeOrders } from './commands.js';

/** Bytes, after a full collection; `peakRss` since the start. */
export interface Memory {
  readonly heapUsed: number;
  readonly arrayBuffers: number;
  readonly rss: number;
  readonly peakRss: number;
}

const server = new SocketServer(readOptions<SocketServerOptions>(), {
  onCall,
  onConnect: ({ id }) => report({ event: 'connect', id }),
  onDisconnect: ({ id }, cause) =>
    report({ event: 'disconnect', id, code: (cause as { code?: string } | undefined)?.code ?? null }),
  onRefused: (reason) => report({ event: 'refused', reason }),
  onTrouble: (error) => report({ event: 'trouble', message: error.message }),
  onTakenOver: () => report({ event: 'takenOver' }),
});

let release: () => void = () => undefined;
const released = new Promise<void>((resolve) => (release = resolve));

server
  .handle('echo', (data) => data)
  .handle('sleep', ({ ms }: { ms: number }) => delay(ms))
  .handle('slowEcho', ({ ms, value }: { ms: number; value: unknown }) => delay(ms, value))
  .handle('blob', ({ bytes }: { bytes: number }) => 'x'.repeat(bytes))
  .handle('hold', () => released)
  .handle('heldBlob', ({ bytes }: { bytes: number }) => released.then(() => 'x'.repeat(bytes)))
  .handle('pid', () => process.pid);

/** `stream`: text of so many bytes, again and again, until nobody wants more. */
function onCall(call: IncomingCall): boolean {
  if (call.message.type !== 'stream') return false;
  const { bytes } = call.message.data as { bytes: number };
  const text = 'x'.repeat(bytes);
  const timer = setInterval(() => {
    for (let n = 0; n < 20; n++) call.next(text);
  }, 1);
  call.onTeardown(() => clearInterval(timer));
  return true;
}

export const commands = {
  async listen(): Promise<{ address: string }> {
    await server.listen();
    return { address: endpointLabel(server.endpoint) };
  },
  stats: (): ServerStats => server.getStats(),
  memory(): Memory {
    globalThis.gc?.();
    const { heapUsed, arrayBuffers, rss } = process.memoryUsage();
    return { heapUsed, arrayBuffers, rss, peakRss: process.resourceUsage().maxRSS * 1024 };
  },
  /** Pushes a text of so many bytes so many times, letting the loop turn in between. */
  async push({ bytes, times }: { bytes: number; times: number }): Promise<{ accepted: number }> {
    const text = 'x'.repeat(bytes);
    let accepted = 0;
    for (let n = 0; n < times; n++) {
      accepted += server.push('blob', { n, text }).recipients;
      await new Promise(setImmediate);
    }
    return { accepted };
  },
  /** Every `hold` is answered. */
  release: (): void => release(),
  close: (): Promise<unknown> => server.close(),
  block,
};

takeOrders(commands);
