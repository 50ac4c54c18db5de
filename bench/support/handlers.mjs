import { createHash } from 'node:crypto';

/** What every contestant's server answers, under these names (Nest controllers: see nest-peer.mjs). */
export const requests = {
  echo: (data) => data,
  echoText: (data) => data,
  echoBytes: (data) => data,
  /** Work for a processor. */
  hash: (kib) =>
    createHash('sha256')
      .update(Buffer.alloc(kib * 1024))
      .digest('hex'),
  /** How many events have been handled. */
  seen: () => seen,
  /** Pushes so many messages to every client, in one go. */
  publish: (count) => {
    for (let i = 0; i < count; i++) hub.publish(ORDER);
    return count;
  },
};

export const events = {
  note: () => {
    seen++;
  },
};

export const streams = {
  *items(count) {
    for (let i = 0; i < count; i++) yield { sequence: i, price: 1234.5678 };
  },
};

/** About 120 bytes of JSON. */
export const ORDER = {
  id: 12345,
  symbol: 'EUR-USD spot',
  side: 'buy',
  price: 1234.5678,
  quantity: 42,
  note: 'a small order, nothing else',
  at: 1700000000000,
};

/** The way to all clients of the server in this process; set once it runs. */
export const hub = { publish: undefined };

let seen = 0;
