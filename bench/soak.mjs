// Does memory stay where it was? Many idle connections and one busy one, for as long as asked; the heap of both
// processes after a full collection, at intervals. Fails (exit code 1) when it grows.
import { parseArgs } from 'node:util';

import { PEER_IDS } from './peers/index.mjs';
import { loadScenario } from './scenarios/index.mjs';
import { positiveInteger } from './support/arguments.mjs';
import { Pair } from './support/pair.mjs';
import { median } from './support/statistics.mjs';

const USAGE = `npm run soak -- [options]
  --seconds <n>      of echo traffic (default 600)
  --connections <n>  that stay open and idle meanwhile (default 1000)
  --samples <n>      of the heap, evenly spread over the traffic (default 20)
  --peer <a>         of ${PEER_IDS.join(', ')} (default ours-unix)`;

/**
 * Bound on growth during the traffic, from the first quarter of the samples to the last, for each process. What V8 and
 * Nest make lazily settles within it; a leak of the smallest object per call breaks it after a hundred thousand calls.
 */
const TRAFFIC_BOUND = 1.5 * 2 ** 20;

/** Bound on what is left of each opened connection when all are closed again. */
const LEFTOVER_BOUND_PER_CONNECTION = 512;

const WARM_UP_SECONDS = 5;
const WARM_UP_CONNECTIONS = 50;

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '600' },
    connections: { type: 'string', default: '1000' },
    samples: { type: 'string', default: '20' },
    peer: { type: 'string', default: 'ours-unix' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(USAGE);
  process.exit();
}
const seconds = positiveInteger('seconds', values.seconds);
const connections = positiveInteger('connections', values.connections);
const sampleCount = positiveInteger('samples', values.samples);

const { cases } = await loadScenario('echo');
const traffic = cases.find(({ concurrency }) => concurrency === 16);

// V8 drops the bytecode of functions not run for a while, which looks like a heap that shrinks and grows again.
const pair = await Pair.start(values.peer, { execArgv: ['--no-flush-bytecode'] });
let failures = 0;
try {
  await soak();
} finally {
  await pair.stop();
}
console.log(failures === 0 ? 'soak: the heap stayed where it was' : `soak: ${failures} bound(s) broken`);
process.exitCode = failures === 0 ? 0 : 1;

async function soak() {
  console.log(
    `${pair.title}: ${connections} idle connections, ${seconds} s of echo traffic, Node ${process.version}`,
  );

  // Everything once, so that what is made lazily and kept on purpose is there before the first look.
  await pair.openClients(WARM_UP_CONNECTIONS);
  await pair.drive('echo', traffic, WARM_UP_SECONDS * 1000);
  await pair.closeClients();
  const empty = await pair.memory();
  print('no connection', empty);

  await pair.openClients(connections + 1);
  const opened = await pair.memory();
  print('connections open', opened);
  for (const side of ['server', 'client']) {
    const each = (held(opened[side]) - held(empty[side])) / (connections + 1);
    console.log(`  ${side}: ${kib(each)} held for each connection`);
  }

  const samples = [];
  let operations = 0;
  for (let i = 0; i < sampleCount; i++) {
    const sample = await pair.drive('echo', traffic, (seconds / sampleCount) * 1000);
    operations += sample.operations;
    const memory = await pair.memory();
    samples.push(memory);
    print(`${operations.toLocaleString('en-US')} calls`, memory);
  }
  for (const side of ['server', 'client']) checkTraffic(side, samples);

  await pair.closeClients();
  const closed = await pair.memory();
  print('all closed', closed);
  for (const side of ['server', 'client']) {
    const bound = TRAFFIC_BOUND + connections * LEFTOVER_BOUND_PER_CONNECTION;
    check(`${side}, left when all connections are closed`, held(closed[side]) - held(empty[side]), bound);
  }
}

/** Compares medians of the first and last quarter: one sample may catch a buffer on its way. */
function checkTraffic(side, samples) {
  const quarter = Math.max(1, Math.floor(samples.length / 4));
  const first = median(samples.slice(0, quarter).map((memory) => held(memory[side])));
  const last = median(samples.slice(-quarter).map((memory) => held(memory[side])));
  check(`${side}, growth during the traffic`, last - first, TRAFFIC_BOUND);
}

function check(what, bytes, bound) {
  const broken = bytes > bound;
  if (broken) failures++;
  console.log(`${broken ? 'FAILED' : 'ok'}: ${what}: ${kib(bytes)}, bound ${kib(bound)}`);
}

/** What the process keeps: objects, and the memory of its Buffers, which lies outside the heap. */
function held({ heapUsed, arrayBuffers }) {
  return heapUsed + arrayBuffers;
}

function print(what, { server, client }) {
  const side = (memory) =>
    `${mib(memory.heapUsed)} heap + ${mib(memory.arrayBuffers)} buffers, ${mib(memory.rss)} rss`;
  console.log(`${what.padEnd(18)}  server ${side(server)};  client ${side(client)}`);
}

function mib(bytes) {
  return `${(bytes / 2 ** 20).toFixed(2)} MiB`;
}

function kib(bytes) {
  return `${(bytes / 2 ** 10).toFixed(1)} KiB`;
}
