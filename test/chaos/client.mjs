// A client of the chaos run: so many calls at a time, until it is told to stop; then the verdict on each of them.
// A patient one repeats what may be repeated until it is answered. An impatient one does not wait for a connection,
// asks for too much, and gives up soon: its failures show whether they tell the truth.
import { Logger } from '@nestjs/common';
import { UnixSocketClientProxy, UnixSocketError, UnixSocketRecordBuilder } from '../../dist/index.js';
import { NumberJudge } from './number-judge.mjs';
import { random } from './random.mjs';

const { endpoint, name, seed, isImpatient } = JSON.parse(process.argv[2]);
const AT_ONCE = isImpatient ? 64 : 16;
const CALL_TIMEOUT_MS = 30_000;

Logger.overrideLogger(false);
const chance = random(seed);
const upTo = (limit) => Math.floor(chance() * limit);
const client = new UnixSocketClientProxy({
  ...endpoint,
  ...(isImpatient ? { offline: 'fail', maxRepeats: 0 } : { maxRepeats: 1_000 }),
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
const numbers = new NumberJudge(client);
client.on('connect', () => {
  follow().catch(() => undefined);
});
const open = new Set();
let isStopping = false;

process.on('unhandledRejection', (reason) => process.send({ event: 'unhandled', reason: String(reason) }));
// Of listeners that pile up, for example.
process.on('warning', ({ message }) => process.send({ event: 'unhandled', reason: message }));
process.on('disconnect', () => process.exit(0));

/** Timers of this program itself. */
let pauses = 0;

async function pause(ms) {
  pauses++;
  await new Promise((resolve) => setTimeout(resolve, ms));
  pauses--;
}

async function call() {
  const idempotent = !isImpatient && chance() < 0.4;
  const id = `${name}-${idempotent ? 'again' : 'once'}-${++verdicts.started}`;
  open.add(id);
  try {
    const isRight = chance() < 0.05 ? await stream(id, idempotent) : await request(id, idempotent);
    if (isRight) verdicts.answered++;
    else verdicts.wrong++;
  } catch (error) {
    onFailure(id, idempotent, error);
    // One that fails at once would else do nothing but fail.
    if (isImpatient) await pause(upTo(40));
  } finally {
    open.delete(id);
  }
}

async function request(id, idempotent) {
  const sleepMs = chance() < 0.1 ? upTo(30) : 0;
  const timeoutMs = isImpatient && chance() < 0.3 ? 1 + upTo(40) : CALL_TIMEOUT_MS;
  const signal = isImpatient && chance() < 0.1 ? AbortSignal.timeout(upTo(20)) : undefined;
  const options = { timeoutMs, idempotent, signal };
  const answer = await client.request(idempotent ? 'again' : 'once', { id, sleepMs }, options);
  return answer?.answerTo === id;
}

/** Every value once and in order, or a failure. */
function stream(id, idempotent) {
  const length = upTo(8);
  const data = new UnixSocketRecordBuilder({ id, length })
    .setIdempotent(idempotent)
    .setTimeout(CALL_TIMEOUT_MS);
  let count = 0;
  let isRight = true;
  return new Promise((resolve, reject) => {
    client.send('stream', data.build()).subscribe({
      next: ({ answerTo, index }) => (isRight &&= answerTo === id && index === count++),
      error: (error) => {
        // Part of a stream has been handed on already, so nobody may send it again.
        error.isPartly = count > 0;
        reject(error);
      },
      complete: () => resolve(isRight && count === length),
    });
  });
}

function onFailure(id, idempotent, error) {
  if (!(error instanceof UnixSocketError) || error.delivery === undefined) {
    verdicts.untyped.push(`${id}: ${error}`);
    return;
  }
  const kind = `${error.code} ${error.delivery}`;
  verdicts.failed[kind] = (verdicts.failed[kind] ?? 0) + 1;
  if (error.delivery === 'notSent') verdicts.notSent.push(id);
  if (idempotent && !error.isPartly) verdicts.lostIdempotent.push(`${id}: ${kind}: ${error.message}`);
}

/** Does nothing for a client that has come back in time: it is in its rooms already. */
function follow() {
  return client.request('follow', null, { idempotent: true, timeoutMs: CALL_TIMEOUT_MS });
}

/** The last number has to come too, or a gap behind which it lies. */
async function lastTick() {
  await follow();
  const last = Number(await client.request('tick', null, { idempotent: true, timeoutMs: CALL_TIMEOUT_MS }));
  for (let i = 0; i < 500 && numbers.lastOf('ticks') < last; i++) await pause(10);
  if (numbers.lastOf('ticks') < last)
    numbers.faults.push(`${last} has not come, only ${numbers.lastOf('ticks')}`);
}

async function worker() {
  while (!isStopping) await call();
}

function resources() {
  globalThis.gc?.();
  const timers = process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
  return { heapBytes: process.memoryUsage().heapUsed, timers: timers - pauses };
}

process.on('message', (message) => void onMessage(message));

async function onMessage(message) {
  if (message === 'resources') process.send({ event: 'resources', ...resources() });
  if (message !== 'stop') return;
  isStopping = true;
  await Promise.race([work, new Promise((resolve) => setTimeout(resolve, CALL_TIMEOUT_MS + 10_000))]);
  await lastTick().catch((error) => numbers.faults.push(String(error)));
  const { repeated, reconnects } = client.getStats();
  const hung = [...open];
  await client.close();
  // Nobody may be there to hear of it any more once the verdicts are in.
  clearInterval(progress);
  process.send({ event: 'verdicts', ...verdicts, hung, repeated, reconnects, numbers });
}

const progress = setInterval(
  () => process.send({ event: 'progress', answered: verdicts.answered, started: verdicts.started }),
  100,
).unref();
const work = Promise.all(Array.from({ length: AT_ONCE }, worker));
