import { keepCalling } from '../support/callers.mjs';

export const title = 'Workers of node:cluster that share one socket path';
export const unit = 'calls';

export const setup = { clients: 16 };
export const only = ['ours-unix', 'ours-cluster-1', 'ours-cluster-2'];
export const cases = [
  {
    id: 'cluster',
    title: '16 clients, 4 calls each at once, handlers busy for a while (CPU without the workers)',
  },
];

const CALLS_PER_CLIENT = 4;
/** Some hundred microseconds of hashing: a handler without work of its own needs no second process. */
const KIB_TO_HASH = 256;

export function drive({ clients }, _benchCase, ms) {
  const call = (caller) => clients[caller % clients.length].request('hash', KIB_TO_HASH);
  return keepCalling(call, clients.length * CALLS_PER_CLIENT, ms);
}
