import type { Duplex } from 'node:stream';
import {
  UnixSocketClientProxy,
  UnixSocketServer,
  type UnixSocketClientOptions,
  type UnixSocketServerOptions,
} from 'nestjs-unix-socket';
import { MemoryEndpoint } from 'nestjs-unix-socket/testing';
import { Logger } from '@nestjs/common';
import { lastValueFrom } from 'rxjs';
import { atEnd } from '../support/at-end.js';
import { rejectionOf } from '../support/rejection.js';
import { thoroughly } from '../support/thoroughly.js';
import { greeting, message, request } from '../support/wire.js';

const SECOND = 1_000;
const HOUR = 3_600 * SECOND;

/** Connections come out as streams, and are counted. */
class CountingEndpoint extends MemoryEndpoint {
  attempts = 0;

  override connect(): Duplex {
    this.attempts++;
    return super.connect();
  }
}

/** The real client, the real server and the real codec, with streams in memory and a clock that the test moves. */
describe('Client and server in fake time', () => {
  let streams: CountingEndpoint;

  beforeEach(() => {
    Logger.overrideLogger(false);
    // Streams go on by these; everything that is a matter of time waits for the test.
    jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask'] });
    streams = new CountingEndpoint();
    // Last of all: whoever starts a timer clears it.
    atEnd(() => {
      const timers = jest.getTimerCount();
      jest.useRealTimers();
      if (timers > 0) throw new Error(`${timers} timers are left`);
    });
  });

  async function serve(options: Partial<UnixSocketServerOptions> = {}): Promise<UnixSocketServer> {
    const server = new UnixSocketServer({ streams, ...options });
    await new Promise<void>((resolve, reject) =>
      server.listen((error) => (error === undefined ? resolve() : reject(error as Error))),
    );
    atEnd(() => closed(server.close()));
    server.handle('echo', (data: unknown) => data);
    return server;
  }

  function clientOf(options: Partial<UnixSocketClientOptions> = {}): UnixSocketClientProxy {
    const client = new UnixSocketClientProxy({ streams, ...options });
    atEnd(() => closed(client.close()));
    return client;
  }

  /** Ends wait for answers and for the other side; their time has to pass as well. */
  async function closed(closing: Promise<unknown>): Promise<void> {
    await pass(60 * SECOND);
    await closing;
  }

  async function connected(options: Partial<UnixSocketClientOptions> = {}): Promise<UnixSocketClientProxy> {
    const client = clientOf(options);
    await client.connect();
    return client;
  }

  it('answers without a tick of the clock', async () => {
    await serve();
    const client = clientOf();
    const before = performance.now();
    expect(await client.request('echo', { a: [1, 'é', null] })).toEqual({ a: [1, 'é', null] });
    expect(await lastValueFrom(client.send('echo', 'x'))).toBe('x');
    expect(performance.now()).toBe(before);
  });

  it('ends a call when its default time limit has passed, not a millisecond before, and tells the server', async () => {
    const server = await serve();
    let reason: unknown;
    server.handle('never', (_data: unknown, { signal }) => {
      signal.addEventListener('abort', () => (reason = signal.reason));
      return new Promise(() => undefined);
    });
    const client = await connected();
    const outcome = outcomeOf(client.request('never', 1));
    await pass(10 * SECOND - 1);
    expect(outcome()).toBe('pending');
    expect(reason).toBeUndefined();
    await pass(1);
    expect(outcome()).toMatchObject({ code: 'REQUEST_TIMEOUT', timeoutMs: 10 * SECOND });
    expect(reason).toMatchObject({ code: 'CANCELLED' });
  });

  it('ends a call at its deadline on both sides at once', async () => {
    const server = await serve();
    let reason: unknown;
    server.handle('never', (_data: unknown, { signal }) => {
      signal.addEventListener('abort', () => (reason = signal.reason));
      return new Promise(() => undefined);
    });
    const client = await connected();
    const outcome = outcomeOf(client.request('never', 1, { timeoutMs: HOUR }));
    await pass(HOUR - 1);
    expect([outcome(), reason]).toEqual(['pending', undefined]);
    await pass(1);
    expect(outcome()).toMatchObject({ code: 'REQUEST_TIMEOUT', timeoutMs: HOUR });
    expect(reason).toMatchObject({ code: expect.stringMatching(/^(DEADLINE_EXCEEDED|CANCELLED)$/) });
  });

  it('never ends a call without a time limit', async () => {
    const server = await serve();
    let answer: (value: string) => void = () => undefined;
    server.handle('later', () => new Promise((resolve) => (answer = resolve)));
    const client = await connected();
    const outcome = outcomeOf(client.request('later', 1, { timeoutMs: 0 }));
    await pass(thoroughly(24, 2) * HOUR, { step: 10 * SECOND });
    expect(outcome()).toBe('pending');
    answer('at last');
    await settle();
    expect(outcome()).toBe('at last');
  });

  it('fails a call that waits for a server when its time is over', async () => {
    const client = clientOf();
    const outcome = outcomeOf(client.request('echo', 1, { timeoutMs: 30 * SECOND }));
    await pass(30 * SECOND - 1);
    expect(outcome()).toBe('pending');
    await pass(1);
    expect(outcome()).toMatchObject({ code: 'REQUEST_TIMEOUT', delivery: 'notSent' });
  });

  it('dials no more when whoever hears of the pause stops reconnecting', async () => {
    const client = clientOf();
    let retries = 0;
    client.on('reconnecting', () => retries++);
    client.status.subscribe((status) => {
      if (status === 'reconnecting') client.stopAutoReconnect();
    });
    const failure = rejectionOf(client.connect());
    await pass(HOUR, { step: 10 * SECOND });
    expect(await failure).toMatchObject({ name: 'ConnectError' });
    expect([streams.attempts, retries]).toEqual([1, 0]);
  });

  it('dials again after each announced delay, within bounds that grow up to the longest', async () => {
    const delays: number[] = [];
    const bounds = [10, 20, 40, ...Array<number>(9).fill(80)].map((seconds) => seconds * SECOND);
    const [initialDelayMs, maxDelayMs] = [10 * SECOND, 80 * SECOND];
    const client = clientOf({ reconnect: { initialDelayMs, multiplier: 2, maxDelayMs } });
    client.on('reconnecting', (_attempt, delayMs) => delays.push(delayMs));
    client.connect().catch(() => undefined);
    await settle();
    for (const [attempt, bound] of bounds.entries()) {
      expect(streams.attempts).toBe(attempt + 1);
      const delayMs = delays[attempt] as number;
      expect(delayMs).toBeGreaterThanOrEqual(0);
      expect(delayMs).toBeLessThanOrEqual(bound);
      await pass(Math.max(0, Math.floor(delayMs) - 1));
      expect(streams.attempts).toBe(attempt + 1);
      await pass(1);
    }
    expect(Math.max(...delays)).toBeGreaterThan(initialDelayMs);
    // Not all clients of a server that comes back come back at once.
    expect(delays.some((delayMs, attempt) => delayMs < 0.9 * (bounds[attempt] ?? maxDelayMs))).toBe(true);
  });

  it('begins its delays anew only after a connection that was stable', async () => {
    await serve();
    const client = clientOf({ reconnect: { initialDelayMs: 100, multiplier: 10, maxDelayMs: 10_000 } });
    const delays: number[] = [];
    client.on('reconnecting', (_attempt, delayMs) => delays.push(delayMs));
    await client.connect();
    async function lose(): Promise<number> {
      streams.drop();
      await settle();
      const delayMs = delays.at(-1) as number;
      await pass(delayMs);
      expect(client.isConnected()).toBe(true);
      return delayMs;
    }
    // Lost within a second, again and again: no reason for hope.
    for (let loss = 0; loss < 8; loss++) {
      await pass(SECOND);
      await lose();
    }
    expect(delays).toHaveLength(8);
    expect(delays[0]).toBeLessThanOrEqual(100);
    expect(delays[1]).toBeLessThanOrEqual(1_000);
    expect(Math.max(...delays.slice(2))).toBeLessThanOrEqual(10_000);
    expect(Math.max(...delays.slice(2))).toBeGreaterThan(100);

    await pass(5 * SECOND);
    expect(await lose()).toBeLessThanOrEqual(100);
  });

  it('gives up an attempt that is accepted and never greeted', async () => {
    const stop = streams.listen(() => undefined);
    const client = clientOf({ reconnect: { enabled: false } });
    const outcome = outcomeOf(client.request('echo', 1));
    await pass(5 * SECOND - 1);
    expect(outcome()).toBe('pending');
    await pass(1);
    expect(outcome()).toMatchObject({ code: 'CONNECT_TIMEOUT', delivery: 'notSent' });
    stop();
  });

  it('keeps an idle connection for hours, or for a day', async () => {
    const server = await serve();
    const client = await connected();
    const ends: unknown[] = [];
    server.on('disconnect', (_connection, cause) => ends.push(cause));
    client.on('disconnect', (error) => ends.push(error));
    await pass(thoroughly(24, 2) * HOUR, { step: 5 * SECOND });
    expect(ends).toEqual([]);
    expect(await client.request('echo', 'still there')).toBe('still there');
  });

  it('notices a server that falls silent, not before its time and hardly after', async () => {
    const peers: Duplex[] = [];
    const stop = streams.listen((stream) => {
      peers.push(stream.resume());
      stream.write(greeting());
    });
    const client = await connected({ reconnect: { enabled: false } });
    let lost: unknown;
    client.on('disconnect', (error) => (lost = error));
    await pass(30 * SECOND);
    // Any byte is a sign of life.
    peers[0]?.write(message('heartbeat', '', null));
    await pass(45 * SECOND - 1);
    expect(lost).toBeUndefined();
    await pass((45 * SECOND) / 4);
    expect(lost).toMatchObject({ code: 'PEER_SILENT' });
    stop();
  });

  it('notices a client that falls silent, and one that stands in the middle of a frame', async () => {
    const server = await serve();
    const causes: (string | undefined)[] = [];
    server.on('disconnect', (_connection, cause) =>
      causes.push((cause as { code?: string } | undefined)?.code),
    );
    const silent = streams.connect().resume();
    silent.write(message('heartbeat', '', null));
    const stuck = streams.connect().resume();
    stuck.write(message('heartbeat', '', null).subarray(0, 20));
    await pass(30 * SECOND - 1);
    expect(causes).toEqual([]);
    await pass(10 * SECOND);
    expect(causes).toEqual(['FRAME_TIMEOUT']);
    await pass(20 * SECOND - 1);
    expect(causes).toEqual(['FRAME_TIMEOUT']);
    await pass(20 * SECOND);
    expect(causes).toEqual(['FRAME_TIMEOUT', 'PEER_SILENT']);
    expect(server.connectionCount).toBe(0);
  });

  it('lets handlers finish for drainTimeoutMs when the server is closed, then stops them', async () => {
    const server = await serve({ drainTimeoutMs: 20 * SECOND });
    let reason: unknown;
    server.handle('never', (_data: unknown, { signal }) => {
      signal.addEventListener('abort', () => (reason = signal.reason));
      return new Promise(() => undefined);
    });
    const client = await connected({ reconnect: { enabled: false } });
    const outcome = outcomeOf(client.request('never', 1, { timeoutMs: HOUR }));
    await settle();
    const report = outcomeOf(server.close());
    await pass(20 * SECOND - 1);
    expect([outcome(), report(), reason]).toEqual(['pending', 'pending', undefined]);
    await pass(1);
    await settle();
    expect(outcome()).toMatchObject({ code: 'CONNECTION_LOST', delivery: 'sentNoReply' });
    expect(reason).toMatchObject({ code: 'SERVER_CLOSED' });
    await pass(SECOND);
    expect(report()).toEqual({ cancelled: 1, unanswered: 0, unfinishedConnections: 1 });
  });

  it('waits five seconds for what a client leaves unread when the server is closed, and no longer', async () => {
    const server = await serve({ drainTimeoutMs: SECOND });
    server.handle('make', (bytes: number) => 'x'.repeat(bytes));
    streams.connect().write(request('1', 'make', 4_000_000));
    await settle();
    expect(server.getStats().connections[0]?.queuedBytes).toBeGreaterThan(3_000_000);
    const report = outcomeOf(server.close());
    await pass(5 * SECOND - 1);
    expect([report(), server.connectionCount]).toEqual(['pending', 1]);
    await pass(1);
    await settle();
    expect(report()).toEqual({ cancelled: 0, unanswered: 0, unfinishedConnections: 1 });
    expect(server.connectionCount).toBe(0);
  });

  it('waits for answers for drainTimeoutMs when the client is closed', async () => {
    const server = await serve();
    server.handle('never', () => new Promise(() => undefined));
    const client = await connected({ drainTimeoutMs: 20 * SECOND });
    const outcome = outcomeOf(client.request('never', 1, { timeoutMs: HOUR }));
    const report = outcomeOf(client.close());
    await pass(20 * SECOND - 1);
    expect([outcome(), report()]).toEqual(['pending', 'pending']);
    await pass(SECOND);
    expect(outcome()).toMatchObject({ code: 'CLIENT_CLOSED', delivery: 'sentNoReply' });
    expect(report()).toEqual({ unanswered: 1, notSent: 0, cancelled: 0 });
  });

  it('repeats an idempotent call over a cable that is pulled, and joins it on the server', async () => {
    const server = await serve({ deduplication: { enabled: true } });
    let runs = 0;
    let answer: (value: string) => void = () => undefined;
    server.handle('slow', () => {
      runs++;
      return new Promise((resolve) => (answer = resolve));
    });
    const client = await connected();
    const outcome = outcomeOf(client.request('slow', 1, { idempotent: true, timeoutMs: HOUR }));
    for (let loss = 0; loss < 5; loss++) {
      await pass(30 * SECOND);
      streams.drop();
    }
    await pass(30 * SECOND);
    answer('done');
    await settle();
    expect(outcome()).toBe('done');
    expect(runs).toBe(1);
    expect(client.getStats()).toMatchObject({ repeated: 5, reconnects: 5 });
  });

  it('says where nobody listens', async () => {
    const client = clientOf({ reconnect: { enabled: false } });
    expect(await rejectionOf(client.request('echo', 1))).toMatchObject({
      code: 'CONNECTION_REFUSED',
      endpoint: 'memory',
    });
  });
});

/** Lets everything happen that waits for no clock. */
async function settle(): Promise<void> {
  for (let turns = 0; turns < 20; turns++) await new Promise((resolve) => setImmediate(resolve));
}

/** Moves the clock; in steps, so that what one timer causes is there when the next one fires. */
async function pass(ms: number, { step = ms / 4 } = {}): Promise<void> {
  await settle();
  const end = performance.now() + ms;
  while (performance.now() + step < end) {
    await jest.advanceTimersByTimeAsync(step);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await jest.advanceTimersByTimeAsync(Math.max(0, end - performance.now()));
  await settle();
}

/** How it stands with `promise`, asked at any time. */
function outcomeOf(promise: Promise<unknown>): () => unknown {
  let outcome: unknown = 'pending';
  promise.then(
    (value) => (outcome = value),
    (error: unknown) => (outcome = error),
  );
  return () => outcome;
}
