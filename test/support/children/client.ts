import { Link } from '../../../lib/client/link.js';
import type { LinkStats } from '../../../lib/client/link-reports.js';
import { request } from '../../../lib/calls/request.js';
import type { LinkOptions } from '../../../lib/options/client-options.js';
import { block, readOptions, report, takeOrders } from './commands.js';

const link = new Link(readOptions<LinkOptions>(), {
  onConnect: () => report({ event: 'connect' }),
  onDisconnect: ({ code }) => report({ event: 'disconnect', code }),
  onRetry: (attempt, delayMs, { code }) => report({ event: 'retry', attempt, delayMs, code }),
});

export const commands = {
  connect: (): Promise<void> => link.connect(),
  request: ({ type, data }: { type: string; data: unknown }): Promise<unknown> => request(link, type, data),
  /** Calls one after the other for so long; how long they took, in milliseconds. */
  async measure({ forMs }: { forMs: number }): Promise<{ calls: number; p50: number; p99: number }> {
    const took: number[] = [];
    const endAt = performance.now() + forMs;
    for (let now = performance.now(); now < endAt; now = performance.now()) {
      await request(link, 'echo', took.length);
      took.push(performance.now() - now);
    }
    took.sort((a, b) => a - b);
    const percentile = (share: number): number => took[Math.floor((took.length - 1) * share)] ?? 0;
    return { calls: took.length, p50: percentile(0.5), p99: percentile(0.99) };
  },
  block,
  stats: (): LinkStats => link.getStats(),
};

takeOrders(commands);
