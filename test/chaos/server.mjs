// One life of the chaos run's server. Says "listening" once it does; drains on SIGTERM and when it is taken over.
import { openSync, writeSync } from 'node:fs';
import { inspect } from 'node:util';
import { Logger } from '@nestjs/common';
import { interval, map, take } from 'rxjs';
import { UnixSocketServer } from '../../dist/index.js';

const [path, ledgerPath, remembers] = process.argv.slice(2);
Logger.overrideLogger(false);
const ledger = openSync(ledgerPath, 'a');

process.on('unhandledRejection', (reason) => tell(String(reason)));
// Of listeners that pile up, for example.
process.on('warning', ({ message }) => tell(message));

process.on('disconnect', () => process.exit(0));
process.on('message', (message) => {
  if (message !== 'resources') return;
  const timers = process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
  process.send({ event: 'resources', timers, connections: server.connectionCount });
});

/** More than this on the heap when all is over stays for ever. */
const KEPT_HEAP_BYTES = 16 * 1024 * 1024;
// Made when they are first looked at.
void [process.stdout, process.stderr];
const handlesBefore = process.getActiveResourcesInfo();
const heapBefore = heapBytes();

function tell(problem) {
  process.send?.({ event: 'unhandled', reason: problem });
}

function heapBytes() {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed;
}

const server = new UnixSocketServer({
  path,
  takeOver: true,
  drainTimeoutMs: 5_000,
  pathWatchIntervalMs: 500,
  heartbeat: { intervalMs: 300, timeoutMs: 3_000 },
  // Less than the impatient client makes at once.
  maxConcurrentPerConnection: 24,
  maxQueuedPerConnection: 16,
  // Fewer than are pushed while a client is away for long.
  resume: { rooms: ['ticks', 'tocks'], maxPushes: 300, windowMs: 5_000 },
  deduplication: { enabled: remembers === 'remembers', maxEntries: 1_000_000 },
});

/** Written before it is answered, to a file that survives every death: what is not in there has not run. */
function note(id) {
  writeSync(ledger, `${id} ${process.pid} ${remembers}\n`);
}

async function run({ id, sleepMs }) {
  note(id);
  if (sleepMs > 0) await new Promise((resolve) => setTimeout(resolve, sleepMs));
  return { answerTo: id };
}

server.handle('once', run);
server.handle('again', run);
server.addHandler('stream', ({ id, length }) => {
  note(id);
  return interval(1).pipe(
    take(length),
    map((index) => ({ answerTo: id, index })),
  );
});

let ticks = 0;

/** Some go to both rooms. Returns the number in `ticks`. */
function tick() {
  server.to(...(ticks % 3 === 0 ? ['ticks', 'tocks'] : ['ticks'])).push('tick', ++ticks);
  if (ticks % 5 === 0) server.to('tocks').push('tick', 0);
  return ticks;
}

server.addHandler('follow', (_data, context) => {
  context.getConnection().join('ticks', 'tocks');
  return null;
});
server.addHandler('tick', tick);
const ticking = setInterval(tick, 2);
server.on('takenOver', () => void leave());
process.once('SIGTERM', () => void leave());
server.listen((error) =>
  process.send(error ? { event: 'failed', reason: inspect(error) } : { event: 'listening' }),
);

function handlesLeft() {
  const left = [...process.getActiveResourcesInfo()];
  for (const kind of handlesBefore) if (left.includes(kind)) left.splice(left.indexOf(kind), 1);
  return left;
}

async function leave() {
  clearInterval(ticking);
  await server.close();
  // Those that came too late are told so and let go of within the next turns.
  for (let tries = 0; tries < 100 && handlesLeft().length > 0; tries++)
    await new Promise((resolve) => setTimeout(resolve, 10));
  if (handlesLeft().length > 0) tell(`a closed server left ${handlesLeft().join(', ')}`);
  const keptBytes = heapBytes() - heapBefore;
  if (keptBytes > KEPT_HEAP_BYTES) tell(`a closed server left ${keptBytes} bytes on the heap`);
  process.send({ event: 'left' }, () => process.exit(0));
}
