// A client of the chaos run: so many calls at a time, until it is told to stop; then the verdict on each of them.
import { Logger } from '@nestjs/common';
import { UnixSocketClientProxy, UnixSocketError } from '../../dist/index.js';
import { random } from './random.mjs';

const [path, name, seed] = process.argv.slice(2);
const AT_ONCE = 16;
const CALL_TIMEOUT_MS = 30_000;

Logger.overrideLogger(false);
const chance = random(Number(seed));
const client = new UnixSocketClientProxy({
  path,
  maxRepeats: 1_000,
  connectTimeoutMs: 2_000,
  reconnect: { initialDelayMs: 20, maxDelayMs: 200 },
  heartbeat: { intervalMs: 300, timeoutMs: 2_000 },
});

const verdicts = {
  started: 0,
  answered: 0,
  wrong: 0,
  failed: {},
  notSent: [],
  lostIdempotent: [],
  untyped: [],
};
const open = new Set();
let isStopping = false;

process.on('unhandledRejection', (reason) => process.send({ event: 'unhandled', reason: String(reason) }));
process.on('disconnect', () => process.exit(0));

async function call() {
  const idempotent = chance() < 0.4;
  const id = `${name}-${idempotent ? 'again' : 'once'}-${++verdicts.started}`;
  open.add(id);
  try {
    const sleepMs = chance() < 0.1 ? Math.floor(chance() * 30) : 0;
    const options = { timeoutMs: CALL_TIMEOUT_MS, idempotent };
    const answer = await client.request(idempotent ? 'again' : 'once', { id, sleepMs }, options);
    if (answer?.answerTo === id) verdicts.answered++;
    else verdicts.wrong++;
  } catch (error) {
    onFailure(id, idempotent, error);
  } finally {
    open.delete(id);
  }
}

function onFailure(id, idempotent, error) {
  if (!(error instanceof UnixSocketError) || error.delivery === undefined) {
    verdicts.untyped.push(`${id}: ${error}`);
    return;
  }
  const kind = `${error.code} ${error.delivery}`;
  verdicts.failed[kind] = (verdicts.failed[kind] ?? 0) + 1;
  if (error.delivery === 'notSent') verdicts.notSent.push(id);
  if (idempotent) verdicts.lostIdempotent.push(`${id}: ${kind}: ${error.message}`);
}

async function worker() {
  while (!isStopping) await call();
}

function resources() {
  globalThis.gc?.();
  const timers = process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
  return { heapBytes: process.memoryUsage().heapUsed, timers };
}

process.on('message', async (message) => {
  if (message === 'resources') process.send({ event: 'resources', ...resources() });
  if (message !== 'stop') return;
  isStopping = true;
  await Promise.race([work, new Promise((resolve) => setTimeout(resolve, CALL_TIMEOUT_MS + 10_000))]);
  const { repeated, reconnects } = client.getStats();
  const hung = [...open];
  await client.close();
  process.send({ event: 'verdicts', ...verdicts, hung, repeated, reconnects });
});

setInterval(
  () => process.send({ event: 'progress', answered: verdicts.answered, started: verdicts.started }),
  100,
).unref();
const work = Promise.all(Array.from({ length: AT_ONCE }, worker));
