// One life of the chaos run's server. Says "listening" once it does; drains on SIGTERM and when it is taken over.
import { openSync, writeSync } from 'node:fs';
import { inspect } from 'node:util';
import { Logger } from '@nestjs/common';
import { interval, map, take } from 'rxjs';
import { UnixSocketServer } from '../../dist/index.js';

const [path, ledgerPath, remembers] = process.argv.slice(2);
Logger.overrideLogger(false);
const ledger = openSync(ledgerPath, 'a');

process.on('unhandledRejection', (reason) => process.send?.({ event: 'unhandled', reason: String(reason) }));

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
process.on('disconnect', () => process.exit(0));
server.listen((error) =>
  process.send(error ? { event: 'failed', reason: inspect(error) } : { event: 'listening' }),
);

async function leave() {
  clearInterval(ticking);
  await server.close();
  process.exit(0);
}
