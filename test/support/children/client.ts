import { Link } from '../../../lib/client/link.js';
import type { LinkStats } from '../../../lib/client/link-reports.js';
import { request } from '../../../lib/client/request.js';
import type { LinkOptions } from '../../../lib/options/client-options.js';
import { readOptions, report, takeOrders } from './commands.js';

const link = new Link(readOptions<LinkOptions>(), {
  onConnect: () => report({ event: 'connect' }),
  onDisconnect: ({ code }) => report({ event: 'disconnect', code }),
  onRetry: (attempt, delayMs, { code }) => report({ event: 'retry', attempt, delayMs, code }),
});

export const commands = {
  connect: (): Promise<void> => link.connect(),
  request: ({ type, data }: { type: string; data: unknown }): Promise<unknown> => request(link, type, data),
  stats: (): LinkStats => link.getStats(),
};

takeOrders(commands);
