export const title = 'Idle connections';
export const unit = 'connects';

/** Their cost is told by two looks at the memory, which takes its time. */
export const setup = { clients: 0, isOnce: true };
export const cases = [
  { id: 'idle', title: '10,000 clients', connections: 10_000, boundMs: 120_000, smoke: { connections: 20 } },
];

/** Unlike `drive` this runs in the runner. @param {import('../support/pair.mjs').Pair} pair */
export async function measure(pair, { connections }) {
  const empty = await pair.memory();
  const start = performance.now();
  const cpuMicros = await pair.cpuOf(() => pair.openClients(connections));
  const seconds = (performance.now() - start) / 1000;
  const full = await pair.memory();
  await pair.closeClients();
  const each = (side, ...kinds) =>
    kinds.reduce((sum, kind) => sum + full[side][kind] - empty[side][kind], 0) / connections;
  return {
    operations: connections,
    seconds,
    cpuMicros,
    bytesPerConnection: {
      serverHeap: each('server', 'heapUsed', 'external'),
      serverRss: each('server', 'rss'),
      clientRss: each('client', 'rss'),
    },
  };
}
