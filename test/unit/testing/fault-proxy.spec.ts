import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import {
  FaultProxy,
  type FaultPair,
  type FaultProxyAddress,
  type FaultProxyOptions,
} from '../../../lib/testing/index.js';
import { tempSocketPath } from '../../support/temp-paths.js';

const MIB = 1024 * 1024;

/** What one end of a connection sees. */
class End {
  readonly chunks: Buffer[] = [];
  readonly ended: Promise<unknown>;
  readonly closed: Promise<unknown>;
  /** Ended or closed: which of the two a half-open end sees of a closed connection is up to the platform. */
  readonly over: Promise<unknown>;
  errorCode: string | undefined;
  private count = 0;

  constructor(readonly socket: Socket) {
    socket.on('data', (chunk: Buffer) => {
      this.chunks.push(chunk);
      this.count += chunk.length;
    });
    socket.on('error', (error: NodeJS.ErrnoException) => (this.errorCode = error.code));
    this.ended = new Promise((resolve) => socket.once('end', () => resolve(undefined)));
    this.closed = new Promise((resolve) => socket.once('close', () => resolve(undefined)));
    this.over = Promise.race([this.ended, this.closed]);
  }

  get bytes(): Buffer {
    return Buffer.concat(this.chunks);
  }

  async has(count: number): Promise<Buffer> {
    while (this.count < count) await once(this.socket, 'data');
    return this.bytes;
  }
}

describe.each(['unix', 'tcp'] as const)('FaultProxy over %s', (kind) => {
  let server: Server;
  let target: FaultProxyAddress;
  let proxy: FaultProxy;
  let onAccepted: (end: End) => void;
  const open = new Set<Socket>();

  beforeEach(async () => {
    server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) =>
      onAccepted(new End(track(socket))),
    );
    server.listen(address());
    await once(server, 'listening');
    const bound = server.address() as AddressInfo | string;
    target = typeof bound === 'string' ? { path: bound } : { port: bound.port };
    await start();
  });

  afterEach(async () => {
    await proxy.close();
    for (const socket of open) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });

  function address(): FaultProxyAddress {
    return kind === 'unix' ? { path: tempSocketPath() } : { port: 0 };
  }

  async function start(options: Partial<FaultProxyOptions> = {}): Promise<void> {
    await (proxy as FaultProxy | undefined)?.close();
    proxy = await FaultProxy.listen({ listen: address(), target, ...options });
  }

  function track(socket: Socket): Socket {
    open.add(socket);
    return socket.once('close', () => open.delete(socket));
  }

  function dial(): End {
    return new End(track(connect({ ...proxy.endpoint, allowHalfOpen: true, noDelay: true })));
  }

  /** A connection seen from both ends and from the middle. */
  async function pass(): Promise<{ client: End; served: End; pair: FaultPair }> {
    const accepted = new Promise<End>((resolve) => (onAccepted = resolve));
    const [client, [pair]] = [dial(), (await once(proxy, 'connection')) as [FaultPair]];
    return { client, served: await accepted, pair };
  }

  /** Resolves when nothing has moved for a while: the only way to see that something does not come. */
  async function standstill(): Promise<void> {
    for (let last = ''; ;) {
      const now = JSON.stringify(proxy.stats);
      if (now === last) return;
      last = now;
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
  }

  describe('without faults', () => {
    it('passes every byte both ways and counts them', async () => {
      const { client, served } = await pass();
      served.socket.pipe(served.socket);
      const sent = randomBytes(3 * MIB + 1);
      client.socket.end(sent);
      expect((await client.has(sent.length)).equals(sent)).toBe(true);
      await Promise.all([client.closed, served.closed]);

      const all = { receivedBytes: sent.length, forwardedBytes: sent.length, droppedBytes: 0, heldBytes: 0 };
      expect(proxy.stats).toMatchObject({ connections: 1, toServer: all, toClient: all });
      expect(Object.values(proxy.stats.faults).every((count) => count === 0)).toBe(true);
    });

    it('passes half a close on and lets the other half go on', async () => {
      const { client, served } = await pass();
      client.socket.end('question');
      await served.ended;
      expect(served.bytes.toString()).toBe('question');
      await standstill();
      expect(proxy.connections).toHaveLength(1);

      served.socket.end('answer');
      await Promise.all([client.ended, client.closed, served.closed]);
      expect(client.bytes.toString()).toBe('answer');
      expect([client.errorCode, served.errorCode]).toEqual([undefined, undefined]);
      await standstill();
      expect(proxy.connections).toEqual([]);
    });

    it('lets a client go on when the server has ended its half', async () => {
      const { client, served, pair } = await pass();
      served.socket.end('bye');
      await client.ended;
      client.socket.write('one');
      await served.has(3);
      client.socket.end('more');
      await Promise.all([served.closed, pair.closed]);
      expect(served.bytes.toString()).toBe('onemore');
    });

    it('takes a server that is not there for a lost connection', async () => {
      await new Promise((resolve) => server.close(resolve));
      const client = dial();
      await client.over;
      await standstill();
      expect(proxy.stats).toMatchObject({ connections: 1, liveConnections: 0, unreachable: 1 });
      server.listen(address());
    });

    it('holds back a sender whose receiver does not read, within bounds, and loses nothing', async () => {
      const { client, served } = await pass();
      served.socket.pause();
      const sent = randomBytes(16 * MIB);
      for (let at = 0; at < sent.length; at += 64 * 1024)
        client.socket.write(sent.subarray(at, at + 64 * 1024));
      await standstill();
      expect(client.socket.writableLength).toBeGreaterThan(4 * MIB);
      expect(proxy.stats.toServer.heldBytes).toBeLessThan(MIB);

      served.socket.resume();
      expect((await served.has(sent.length)).equals(sent)).toBe(true);
    });
  });

  describe('split', () => {
    it('delivers byte by byte, each by itself', async () => {
      proxy.split(1, 'toServer');
      const { client, served } = await pass();
      const sent = randomBytes(300);
      client.socket.end(sent);
      await served.ended;
      expect(served.bytes.equals(sent)).toBe(true);
      expect(served.chunks).toHaveLength(300);
      expect(proxy.stats.faults.split).toBe(300);

      served.socket.write(sent);
      await client.has(sent.length);
      expect(client.chunks).toHaveLength(1);
    });

    it('delivers pieces of at most the size given, both ways', async () => {
      const { client, served } = await pass();
      proxy.split(7);
      client.socket.write('x'.repeat(17));
      await served.has(17);
      served.socket.write('y'.repeat(15));
      await client.has(15);
      expect(served.chunks.map((chunk) => chunk.length)).toEqual([7, 7, 3]);
      expect(client.chunks.map((chunk) => chunk.length)).toEqual([7, 7, 1]);
    });

    it('rests between the pieces, until cleared', async () => {
      const { client, served } = await pass();
      proxy.split({ bytes: 1, gapMs: 20 }, 'toServer');
      const startedAt = performance.now();
      client.socket.write('slowly');
      await served.has(6);
      expect(performance.now() - startedAt).toBeGreaterThan(5 * 20 - 5);

      proxy.split({ bytes: 1, gapMs: 60_000 }, 'toServer');
      client.socket.write('never');
      await served.has(7);
      await standstill();
      expect(served.bytes.toString()).toBe('slowlyn');
      proxy.clear();
      await served.has(11);
    });
  });

  describe('delay', () => {
    it('brings everything later, the end too', async () => {
      const { client, served } = await pass();
      proxy.delay(80, 'toServer');
      for (const [send, seen] of [
        [() => client.socket.write('late'), () => served.has(4)],
        [() => client.socket.end(), () => served.ended],
      ] as const) {
        const startedAt = performance.now();
        send();
        await seen();
        expect(performance.now() - startedAt).toBeGreaterThan(78);
      }
      expect(proxy.stats.faults.delay).toBe(1);

      served.socket.end('at once');
      await client.closed;
      expect(client.bytes.toString()).toBe('at once');
    });

    it('keeps the order under jitter', async () => {
      const { client, served } = await pass();
      proxy.delay({ ms: 0, jitterMs: 30 });
      const startedAt = performance.now();
      let sent = '';
      for (let n = 0; n < 40; n++) {
        sent += `${n},`;
        client.socket.write(`${n},`);
        await new Promise(setImmediate);
      }
      expect((await served.has(sent.length)).toString()).toBe(sent);
      expect(proxy.stats.faults.delay).toBeGreaterThan(1);
      expect(performance.now() - startedAt).toBeGreaterThan(10);
    });

    it('runs on the clock of fake timers', async () => {
      const { client, served } = await pass();
      jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask'] });
      try {
        proxy.delay(60_000);
        client.socket.write('minutes');
        while (proxy.stats.toServer.heldBytes < 7) await new Promise(setImmediate);
        jest.advanceTimersByTime(59_999);
        await new Promise(setImmediate);
        expect(proxy.stats.toServer.heldBytes).toBe(7);
        jest.advanceTimersByTime(1);
        await served.has(7);
      } finally {
        jest.useRealTimers();
      }
    });

    it('lets go of what it holds when cleared', async () => {
      const { client, served } = await pass();
      proxy.delay(60_000);
      client.socket.end('held');
      await standstill();
      expect(proxy.stats.toServer.heldBytes).toBe(4);
      expect(served.chunks).toEqual([]);
      proxy.clear();
      await served.ended;
      expect(served.bytes.toString()).toBe('held');
    });
  });

  describe('stall', () => {
    it('stops one direction with real back-pressure, and resume delivers all', async () => {
      const { client, served } = await pass();
      proxy.stall('toServer');
      const sent = randomBytes(16 * MIB);
      for (let at = 0; at < sent.length; at += 64 * 1024)
        client.socket.write(sent.subarray(at, at + 64 * 1024));
      client.socket.end();
      served.socket.write('still heard');
      await client.has(11);
      await standstill();
      expect(served.chunks).toEqual([]);
      expect(client.socket.writableLength).toBeGreaterThan(8 * MIB);
      expect(proxy.stats.toServer.receivedBytes).toBe(0);
      expect(proxy.stats.faults.stall).toBe(1);

      proxy.resume();
      await served.ended;
      expect(served.bytes.equals(sent)).toBe(true);
    });

    it('keeps the death of a side to itself until resumed', async () => {
      const { client, served, pair } = await pass();
      proxy.stall();
      if (kind === 'tcp') client.socket.resetAndDestroy();
      else client.socket.destroy();
      await standstill();
      expect(served.socket.destroyed).toBe(false);
      expect(proxy.connections).toEqual([pair]);
      proxy.resume();
      await served.over;
      served.socket.end();
      await pair.closed;
    });
  });

  describe('truncate', () => {
    it.each([1, 5, 6, 70_000])(
      'forwards %d bytes more to the server and closes both sides',
      async (count) => {
        const { client, served, pair } = await pass();
        client.socket.write('before');
        await served.has(6);
        proxy.truncate(count, 'toServer');
        const sent = randomBytes(200_000);
        client.socket.write(sent.subarray(0, 3));
        client.socket.write(sent.subarray(3));
        await Promise.all([served.ended, client.over, pair.closed]);
        expect(served.bytes.subarray(6).equals(sent.subarray(0, count))).toBe(true);
        expect(pair.stats.toServer.forwardedBytes).toBe(6 + count);
        expect(pair.stats.faults.truncate).toBe(1);
      },
    );

    it('forwards so many bytes to every later client', async () => {
      proxy.truncate(10, 'toClient');
      for (let round = 0; round < 3; round++) {
        const { client, served, pair } = await pass();
        served.socket.write('x'.repeat(10 + round));
        await Promise.all([client.ended, pair.closed]);
        expect(client.bytes.toString()).toBe('x'.repeat(10));
      }
      proxy.clear();
      const { client, served } = await pass();
      served.socket.write('x'.repeat(100));
      await client.has(100);
      expect(client.socket.readableEnded).toBe(false);
    });

    it('closes at once after 0 bytes', async () => {
      const { client, served, pair } = await pass();
      pair.truncate(0);
      await Promise.all([client.ended, served.ended, pair.closed]);
      expect([client.chunks, served.chunks]).toEqual([[], []]);
    });
  });

  it('truncates a connection whose server is gone unnoticed', async () => {
    const { client, served, pair } = await pass();
    pair.stall('toClient');
    served.socket.destroy();
    while (pair.stats.toServer.droppedBytes === 0) {
      client.socket.write('x');
      await new Promise(setImmediate);
    }
    pair.truncate(0, 'toServer');
    await Promise.all([client.over, pair.closed]);
  });

  describe('corrupt', () => {
    it('flips the bits of a mask in one byte, counted from now', async () => {
      const { client, served } = await pass();
      client.socket.write('abc');
      await served.has(3);
      proxy.corrupt({ atByte: 2, mask: 0x01 }, 'toServer');
      proxy.split(2, 'toServer');
      client.socket.write('abcdef');
      expect((await served.has(9)).toString()).toBe('abcabbdef');
      expect(proxy.stats.faults.corrupt).toBe(1);
    });

    it('flips one bit of every nth byte, wherever chunks begin', async () => {
      const { client, served } = await pass();
      proxy.corrupt({ every: 3 });
      proxy.split(4);
      const sent = randomBytes(1000);
      client.socket.write(sent);
      const got = await served.has(1000);
      const flipped = Array.from(sent, (byte, at) => bitCount(byte ^ (got[at] ?? 0)));
      expect(flipped).toEqual(Array.from(sent, (_, at) => (at % 3 === 2 ? 1 : 0)));
      expect(proxy.stats.faults.corrupt).toBe(333);
    });

    it('draws the same bits under the same seed, and others under another', async () => {
      const runs: string[] = [];
      for (const seed of [7, 7, 8]) {
        await start({ seed });
        expect(proxy.seed).toBe(seed);
        proxy.corrupt({ every: 1 }, 'toClient');
        const { client, served } = await pass();
        served.socket.write(Buffer.alloc(64));
        runs.push((await client.has(64)).toString('hex'));
      }
      expect(runs[1]).toBe(runs[0]);
      expect(runs[2]).not.toBe(runs[0]);
    });
  });

  describe('blackhole', () => {
    it('reads all and forwards nothing, and after clear only what is new', async () => {
      const { client, served, pair } = await pass();
      proxy.blackhole('toServer');
      await new Promise((resolve) => client.socket.write(Buffer.alloc(8 * MIB), resolve));
      await standstill();
      expect(served.chunks).toEqual([]);
      expect(pair.stats.toServer).toMatchObject({ receivedBytes: 8 * MIB, droppedBytes: 8 * MIB });
      expect(pair.stats.faults.blackhole).toBeGreaterThan(0);
      proxy.clear();
      client.socket.write('new');
      expect((await served.has(3)).toString()).toBe('new');
    });

    it('hides that a side is gone, until cleared', async () => {
      const { client, served, pair } = await pass();
      proxy.blackhole();
      client.socket.end();
      await standstill();
      expect(served.socket.readableEnded).toBe(false);
      proxy.clear();
      await served.ended;
      served.socket.end();
      await pair.closed;
    });
  });

  describe('reset', () => {
    it('destroys both sides, with RST where there is one', async () => {
      const { client, served, pair } = await pass();
      client.socket.write('x');
      await served.has(1);
      proxy.reset();
      await Promise.all([client.over, served.over, pair.closed]);
      const errorCode = kind === 'tcp' ? 'ECONNRESET' : undefined;
      expect([client.errorCode, served.errorCode]).toEqual([errorCode, errorCode]);
      expect(proxy.stats).toMatchObject({ liveConnections: 0, faults: { reset: 1 } });
    });

    it('does not wait for a side that does not read', async () => {
      const { client, served, pair } = await pass();
      served.socket.pause();
      client.socket.write(Buffer.alloc(16 * MIB));
      await standstill();
      proxy.reset();
      await Promise.all([client.over, pair.closed]);
      served.socket.resume();
      await served.over;
      expect(served.bytes.length).toBeLessThan(16 * MIB);
      expect(pair.stats.toServer.heldBytes).toBe(0);
    });

    it('counts once, and overtakes an end on its way', async () => {
      const { client, served, pair } = await pass();
      client.socket.write('x');
      await served.has(1);
      pair.halfClose('toServer');
      pair.reset();
      proxy.reset();
      await pair.closed;
      expect(proxy.stats.faults.reset).toBe(1);
    });

    it('leaves later connections alone', async () => {
      proxy.reset();
      const { client, served } = await pass();
      client.socket.write('fine');
      await served.has(4);
    });

    it('is passed on when a peer does it', async () => {
      for (const dying of ['client', 'served'] as const) {
        const { client, served, pair } = await pass();
        const [dead, other] = dying === 'client' ? [client, served] : [served, client];
        if (kind === 'tcp') dead.socket.resetAndDestroy();
        else dead.socket.destroy();
        await Promise.all([other.over, pair.closed]);
        if (kind === 'tcp') expect(other.errorCode).toBe('ECONNRESET');
      }
    });

    it('is passed on even if the other side does not read', async () => {
      const { client, served, pair } = await pass();
      // A socket that is closed with bytes unread is reset, on either kind.
      client.socket.pause();
      served.socket.write(Buffer.alloc(200_000));
      while (proxy.stats.toClient.forwardedBytes < 200_000) await new Promise(setImmediate);
      served.socket.pause();
      while (proxy.stats.toServer.heldBytes === 0) {
        await new Promise((resolve) => client.socket.write(Buffer.alloc(16 * 1024), resolve));
        await new Promise(setImmediate);
      }
      client.socket.destroy();
      await pair.closed;
    });
  });

  describe('halfClose', () => {
    it('ends one direction behind its bytes while the other goes on', async () => {
      const { client, served, pair } = await pass();
      client.socket.write('heard');
      await served.has(5);
      proxy.halfClose('toServer');
      await served.ended;
      await new Promise((resolve) => client.socket.write('unheard', resolve));
      served.socket.write('goes on');
      await client.has(7);
      await standstill();
      expect(served.bytes.toString()).toBe('heard');
      expect(pair.stats.toServer).toMatchObject({ forwardedBytes: 5, droppedBytes: 7 });
      expect(pair.stats.faults.halfClose).toBe(1);

      served.socket.end();
      await client.ended;
      client.socket.end();
      await pair.closed;
    });

    it('lets pass what was read before, and nothing after', async () => {
      const { client, served, pair } = await pass();
      proxy.delay(60_000, 'toServer');
      for (const word of ['before', 'after']) {
        client.socket.write(word);
        while (pair.stats.toServer.receivedBytes < (word === 'before' ? 6 : 11))
          await new Promise(setImmediate);
        proxy.halfClose('toServer');
      }
      proxy.clear();
      await served.ended;
      expect(served.bytes.toString()).toBe('before');
      expect(pair.stats.faults.halfClose).toBe(1);
    });

    it('ends the direction to the client', async () => {
      const { client, served } = await pass();
      proxy.halfClose('toClient');
      await client.ended;
      client.socket.write('goes on');
      await served.has(7);
    });
  });

  describe('refuse', () => {
    it('closes new connections at once and leaves live ones alone, until accept', async () => {
      const live = await pass();
      proxy.refuse();
      const refused = dial();
      await refused.over;
      expect(proxy.stats).toMatchObject({ connections: 1, faults: { refuse: 1 } });
      live.client.socket.write('here');
      await live.served.has(4);
      proxy.accept();
      const { client, served } = await pass();
      client.socket.write('again');
      await served.has(5);

      proxy.refuse();
      proxy.clear('toServer');
      await dial().over;
      proxy.clear();
      await pass();
      expect(proxy.stats).toMatchObject({ connections: 3, faults: { refuse: 2 } });
    });
  });

  describe('scope', () => {
    it('keeps the faults of one connection to that connection', async () => {
      const [one, other] = [await pass(), await pass()];
      expect(proxy.connections).toEqual([one.pair, other.pair]);
      one.pair.stall();
      one.client.socket.write('held');
      other.client.socket.write('passed');
      await other.served.has(6);
      await standstill();
      expect(one.served.chunks).toEqual([]);
      other.pair.reset();
      await other.pair.closed;
      one.pair.clear();
      await one.served.has(4);
      expect(one.pair.stats.toServer.forwardedBytes).toBe(4);
      expect(proxy.stats.toServer.forwardedBytes).toBe(10);
    });

    it('combines faults', async () => {
      proxy.delay({ ms: 5, jitterMs: 5 }, 'toServer');
      proxy.split(3, 'toServer');
      proxy.corrupt({ atByte: 0, mask: 0x20 }, 'toServer');
      proxy.truncate(8, 'toServer');
      const { client, served, pair } = await pass();
      client.socket.write('hello world');
      await Promise.all([served.ended, pair.closed]);
      expect(served.chunks.map(String)).toEqual(['Hel', 'lo ', 'wo']);
    });
  });

  describe('close', () => {
    it('ends everything whatever faults hold, and leaves no handle, timer or file', async () => {
      await proxy.close();
      const before = await handles();
      const set = jest.spyOn(globalThis, 'setTimeout');
      const cleared = jest.spyOn(globalThis, 'clearTimeout');
      await start();
      const timed = await pass();
      timed.pair.delay(60_000, 'toServer');
      timed.pair.split({ bytes: 1, gapMs: 60_000 }, 'toClient');
      timed.client.socket.end('waiting');
      timed.served.socket.write('waiting');
      await timed.client.has(1);
      const stalled = await pass();
      stalled.pair.stall();
      stalled.client.socket.write(Buffer.alloc(4 * MIB));
      const hidden = await pass();
      hidden.pair.blackhole();
      hidden.client.socket.destroy();
      const busy = await pass();
      busy.pair.split(1);
      busy.client.socket.write(Buffer.alloc(10_000));
      await busy.served.has(10);
      await standstill();

      const closing = proxy.close();
      expect(proxy.close()).toBe(closing);
      await closing;
      expect(proxy.stats.liveConnections).toBe(0);
      const { toServer, toClient } = proxy.stats;
      expect([toServer.heldBytes, toClient.heldBytes]).toEqual([0, 0]);
      if ('path' in proxy.endpoint) expect(existsSync(proxy.endpoint.path)).toBe(false);
      const timers = set.mock.results.filter((_, at) => (set.mock.calls[at]?.[1] ?? 0) > 50_000);
      expect(timers.length).toBeGreaterThanOrEqual(2);
      for (const timer of timers) expect(cleared.mock.calls.flat()).toContain(timer.value);
      jest.restoreAllMocks();
      for (const socket of open) socket.destroy();
      expect(await handles()).toEqual(before);
    });

    it('closes one connection', async () => {
      const [one, other] = [await pass(), await pass()];
      const onClose = jest.fn();
      one.pair.on('close', onClose);
      await one.pair.close();
      expect(onClose).toHaveBeenCalledTimes(1);
      expect(proxy.connections).toEqual([other.pair]);
    });
  });

  it('refuses an address that is taken', async () => {
    await expect(FaultProxy.listen({ listen: proxy.endpoint, target })).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
    });
  });
});

describe('FaultProxy', () => {
  it('connects a TCP client to a Unix server', async () => {
    const path = tempSocketPath();
    const server = createServer((socket) => void socket.end('hello')).listen(path);
    const proxy = await FaultProxy.listen({ target: { path } });
    expect(proxy.endpoint).toEqual({ host: '127.0.0.1', port: expect.any(Number) });
    const client = new End(connect({ ...proxy.endpoint }));
    await client.closed;
    expect(client.bytes.toString()).toBe('hello');
    await proxy.close();
    await new Promise((resolve) => server.close(resolve));
  });

  it('tells a Unix peer that is gone from one that has ended its side only', async () => {
    const path = tempSocketPath();
    const accepted: End[] = [];
    const server = createServer({ allowHalfOpen: true }, (socket) => accepted.push(new End(socket))).listen(
      path,
    );
    const proxy = await FaultProxy.listen({ listen: { path: tempSocketPath() }, target: { path } });
    const client = connect({ ...proxy.endpoint });
    const [pair] = (await once(proxy, 'connection')) as [FaultPair];
    proxy.split(1);
    client.write('last words', () => client.destroy());
    await pair.closed;
    expect(accepted[0]?.bytes.toString()).toBe('last words');
    accepted[0]?.socket.destroy();
    await proxy.close();
    await new Promise((resolve) => server.close(resolve));
  });

  it('refuses arguments that make no sense, by name', async () => {
    const target = { path: tempSocketPath() };
    await expect(FaultProxy.listen({ target, seed: -1 })).rejects.toThrow('"seed"');
    const proxy = await FaultProxy.listen({ target });
    expect(() => proxy.split(0)).toThrow('"bytes"');
    expect(() => proxy.split({ bytes: 1, gapMs: -1 })).toThrow('"gapMs"');
    expect(() => proxy.delay(Infinity)).toThrow('"ms"');
    expect(() => proxy.delay({ ms: 1, jitterMs: NaN })).toThrow('"jitterMs"');
    expect(() => proxy.truncate(0.5)).toThrow('"afterBytes"');
    expect(() => proxy.corrupt({ atByte: -1 })).toThrow('"atByte"');
    expect(() => proxy.corrupt({ every: 0 })).toThrow('"every"');
    expect(() => proxy.corrupt({ every: 1, mask: 256 })).toThrow('"mask"');
    expect(() => proxy.stall('sideways' as 'both')).toThrow('"direction"');
    await proxy.close();
  });
});

function bitCount(byte: number): number {
  return byte.toString(2).replaceAll('0', '').length;
}

/** Sockets and servers of this process, once what is being closed is closed. (Its timers include jest's.) */
async function handles(): Promise<string[]> {
  for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
  const resources = process.getActiveResourcesInfo().filter((resource) => resource.endsWith('Wrap'));
  return resources.sort();
}
