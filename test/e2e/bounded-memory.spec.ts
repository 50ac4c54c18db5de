import { connect, type Socket } from 'node:net';
import {
  Link,
  request,
  type LinkOptions,
  type SocketServerOptions,
  type UnixSocketError,
} from 'nestjs-unix-socket';
import { FaultProxy } from 'nestjs-unix-socket/testing';
import { atEnd } from '../support/at-end.js';
import { ChildProgram } from '../support/child-process.js';
import type { commands as clientCommands } from '../support/children/client.js';
import type { commands as serverCommands } from '../support/children/server.js';
import { compileSources } from '../support/compile.js';
import { RawPeer, type Address } from '../support/frames.js';
import { tempSocketPath } from '../support/temp-paths.js';
import { thoroughly } from '../support/thoroughly.js';
import { until } from '../support/until.js';
import { connectByHand, hello, request as requestFrame } from '../support/wire.js';

type ServerProgram = ChildProgram<typeof serverCommands>;
type ClientProgram = ChildProgram<typeof clientCommands>;

const KIB = 1024;
const MIB = 1024 * KIB;
/** Small, so that what is not bounded by them shows soon. */
const LIMITS = {
  maxQueuedPerConnection: 2_000,
  maxQueuedBytesPerConnection: 4 * MIB,
  maxSendQueueBytes: 4 * MIB,
};
/** What a server may hold unread for a client before it starts nothing more for it. */
const HELD_BACK_BYTES = MIB;
/** What the kernel and a stream hold beside what is measured. */
const IN_BETWEEN_BYTES = 3 * MIB;
/** What a flood may cost beyond its limits: objects made of bytes, and garbage not yet collected. */
const OVERHEAD_BYTES = 128 * MIB;
const FLOOD_BYTES = 256 * MIB;
/** A call of somebody else, while a flood goes on and all the machine is busy. */
const NEIGHBOUR_P99_MS = 250;

describe('The memory of a server', () => {
  beforeAll(() => void compileSources());

  async function startServer(
    options: Partial<SocketServerOptions> = {},
  ): Promise<{ server: ServerProgram; address: Address }> {
    const path = tempSocketPath();
    const where = options.port === undefined ? { path } : {};
    const server = await ChildProgram.start<typeof serverCommands>('server', {
      options: { ...where, ...options },
    });
    atEnd(() => server.kill());
    const { address } = await server.command('listen');
    return {
      server,
      address: options.port === undefined ? { path } : { port: Number(address.split(':')[1]) },
    };
  }

  async function startNeighbour(address: Address): Promise<ClientProgram> {
    const client = await ChildProgram.start<typeof clientCommands>('client', { options: address });
    atEnd(() => client.kill());
    await client.command('connect');
    return client;
  }

  async function connectLink(address: Address, options: Partial<LinkOptions> = {}): Promise<Link> {
    const link = new Link({ ...address, drainTimeoutMs: 0, requestTimeoutMs: 0, ...options });
    atEnd(() => link.close());
    await link.connect();
    return link;
  }

  /** A connection that nothing is read from until it is resumed. */
  async function connectUnread(address: Address): Promise<Socket> {
    const socket = connect(address as { path: string });
    socket.on('error', () => undefined);
    atEnd(() => socket.destroy());
    await new Promise((resolve) => socket.once('connect', resolve));
    return socket;
  }

  /**
   * Sends requests as long as the server takes them, reading nothing. Ends when it takes none for a while, when it ends
   * the connection, or when it has taken far more than it may. Resolves to the bytes it took.
   */
  async function flood(
    socket: Socket,
    make: (n: number) => Buffer,
  ): Promise<{ taken: number; sent: number }> {
    let sent = 0;
    const taken = (): number => socket.bytesWritten - socket.writableLength;
    while (!socket.destroyed && taken() < FLOOD_BYTES) {
      const before = taken();
      if (socket.write(make(sent++))) continue;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(done, 400);
        function done(): void {
          clearTimeout(timer);
          socket.off('drain', done).off('close', done);
          resolve();
        }
        socket.once('drain', done).once('close', done);
      });
      if (taken() === before) break;
    }
    return { taken: taken(), sent };
  }

  const echo = (n: number): Buffer => requestFrame(String(n), 'echo', { n, text: 'x'.repeat(2 * KIB) });

  it('is bounded for a plain client that floods it without reading, and nothing of that is lost', async () => {
    const { server, address } = await startServer(LIMITS);
    const neighbour = await startNeighbour(address);
    const { peakRss: before } = await server.command('memory');
    const socket = await connectUnread(address);
    const measured = neighbour.command('measure', { forMs: 600 });
    const { taken, sent } = await flood(socket, echo);

    expect(taken).toBeLessThan(HELD_BACK_BYTES + LIMITS.maxQueuedBytesPerConnection + IN_BETWEEN_BYTES);
    expect((await server.command('memory')).peakRss - before).toBeLessThan(OVERHEAD_BYTES);
    const [, stats] = (await server.command('stats')).connections;
    expect(stats?.queuedBytes).toBeLessThan(HELD_BACK_BYTES + IN_BETWEEN_BYTES);
    expect((await measured).p99).toBeLessThan(NEIGHBOUR_P99_MS);

    const reader = new RawPeer(socket);
    await until(() => reader.received.length === sent + 1, 10_000);
    expect(reader.received.slice(1).map(({ request_id: id }) => Number(id))).toEqual(
      Array.from({ length: sent }, (_, n) => n),
    );
  });

  it('is bounded for an upgraded client that floods it without reading, which has to go', async () => {
    const { server, address } = await startServer(LIMITS);
    const neighbour = await startNeighbour(address);
    const { peakRss: before } = await server.command('memory');
    const socket = await connectUnread(address);
    socket.write(hello());
    const measured = neighbour.command('measure', { forMs: 600 });
    const { taken } = await flood(socket, echo);

    expect(taken).toBeLessThan(FLOOD_BYTES);
    await server.waitFor('disconnect');
    const { errorsByCode, activeConnections } = await server.command('stats');
    expect(errorsByCode).toMatchObject({ SEND_QUEUE_FULL: 1, OVERLOADED: expect.any(Number) as number });
    expect(activeConnections).toBe(1);
    expect((await server.command('memory')).peakRss - before).toBeLessThan(OVERHEAD_BYTES);
    expect((await measured).p99).toBeLessThan(NEIGHBOUR_P99_MS);
  });

  it('is bounded for a client that does not read the stream it asked for', async () => {
    const { server, address } = await startServer(LIMITS);
    const { peakRss: before } = await server.command('memory');
    const socket = await connectUnread(address);
    socket.write(hello());
    socket.write(requestFrame('1', 'stream', { bytes: 50 * KIB }));

    await server.waitFor('disconnect');
    expect((await server.command('stats')).errorsByCode).toEqual({ SEND_QUEUE_FULL: 1 });
    expect((await server.command('memory')).peakRss - before).toBeLessThan(OVERHEAD_BYTES);
  });

  const manyBlobs = (pattern: string, count: number): Buffer[] =>
    Array.from({ length: count }, (_, n) => requestFrame(String(n), pattern, { bytes: 100_000 }));

  it.each([
    ['a plain client', 'at once', false, 64],
    ['an upgraded client', 'at once', true, 64],
    ['a plain client', 'all later, in one turn', false, 450],
    ['an upgraded client', 'all later, in one turn', true, 450],
  ])(
    'is bounded for answers that %s leaves unread, asked for in one read and made %s; it gets them once it reads',
    async (_, when, isUpgraded, values) => {
      const { server, address } = await startServer({ heartbeat: { enabled: false } });
      const socket = await connectUnread(address);
      const calls = 450;
      socket.write(
        Buffer.concat([
          ...(isUpgraded ? [hello()] : []),
          ...manyBlobs(when === 'at once' ? 'blob' : 'heldBlob', calls),
        ]),
      );
      await until(async () => (await server.command('stats')).messagesReceived >= calls);
      if (when !== 'at once') await server.command('release');

      const { queued, inFlight, connections } = await server.command('stats');
      // Where they are made at once, the others are not even started.
      expect(inFlight).toBeLessThanOrEqual(values);
      expect(calls - queued - inFlight).toBeLessThan(16);
      expect(connections[0]?.queuedBytes).toBeGreaterThan(0.8 * HELD_BACK_BYTES);
      expect(connections[0]?.queuedBytes).toBeLessThan(HELD_BACK_BYTES + 101 * KIB);

      const reader = new RawPeer(socket);
      const answers = (): string[] =>
        reader.received.map(({ request_id: id }) => id as string).filter((id) => id !== '');
      await until(() => answers().length === calls, 10_000);
      expect(answers()).toEqual(Array.from({ length: calls }, (__, n) => String(n)));
      await until(async () => (await server.command('stats')).inFlight === 0);
    },
  );

  it('is not spent on what a frame says of its length', async () => {
    const { server, address } = await startServer({ maxFrameBytes: 64 * MIB });
    const neighbour = await startNeighbour(address);
    const before = await server.command('memory');
    const peers = await Promise.all(
      Array.from({ length: 100 }, () => connectByHand(address, { isUpgraded: false })),
    );
    atEnd(() => peers.forEach((peer) => peer.destroy()));

    const measured = neighbour.command('measure', { forMs: 300 });
    const declared = Buffer.from('03ffffff', 'hex');
    for (const byte of [...declared, ...Buffer.alloc(100, '{"msg_type":"push"')])
      await Promise.all(peers.map((peer) => peer.send(Buffer.from([byte]))));
    const after = await server.command('memory');
    // 6.4 GB were announced.
    expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(2 * MIB);
    expect(after.heapUsed - before.heapUsed).toBeLessThan(10 * MIB);
    expect((await measured).p99).toBeLessThan(NEIGHBOUR_P99_MS);
  });

  it('is bounded for requests that wait their turn: as many as may, and those beyond are refused unstarted', async () => {
    const waiting = 10_000;
    const { server, address } = await startServer({
      maxConcurrentPerConnection: 10,
      maxQueuedPerConnection: waiting,
    });
    const neighbour = await startNeighbour(address);
    const { heapUsed: before } = await server.command('memory');
    const link = await connectLink(address);
    const outcomes = Array.from({ length: 15_000 }, () =>
      request(link, 'hold', 1).then(
        () => 'answered',
        ({ code, delivery }: UnixSocketError) => `${code} ${delivery}`,
      ),
    );
    await until(() => link.getStats().pending === 10 + waiting, 10_000);
    const { inFlight, queued } = await server.command('stats');
    expect({ inFlight, queued }).toEqual({ inFlight: 10, queued: waiting });
    const { heapUsed } = await server.command('memory');
    expect((heapUsed - before) / waiting).toBeLessThan(2 * KIB);
    // Neither that connection nor another is deaf.
    expect(await link.healthCheck(1_000)).toBe(true);
    expect((await neighbour.command('measure', { forMs: 100 })).p99).toBeLessThan(NEIGHBOUR_P99_MS);

    await server.command('release');
    const counts: Record<string, number> = {};
    for (const outcome of await Promise.all(outcomes)) counts[outcome] = (counts[outcome] ?? 0) + 1;
    expect(counts).toEqual({ answered: 10 + waiting, 'OVERLOADED notSent': 15_000 - 10 - waiting });
    expect((await server.command('memory')).heapUsed - before).toBeLessThan(10 * MIB);
  });

  it('is bounded for clients that do not read what is pushed, and who reads gets all of it', async () => {
    const { server, address } = await startServer(LIMITS);
    const reader = await connectLink(address);
    const received: number[] = [];
    reader.pushes.subscribe('blob', (data) => received.push((data as { n: number }).n));
    for (let n = 0; n < 10; n++) await connectUnread(address);
    const { peakRss: before } = await server.command('memory');

    // As fast as the one reads: what is queued for it then is never the reason for anything.
    const batch = [0, 1, 2, 3];
    let most = 0;
    for (let n = 1; n <= 50; n++) {
      await server.command('push', { bytes: 100 * KIB, times: batch.length });
      await until(() => received.length === n * batch.length);
      for (const { queuedBytes } of (await server.command('stats')).connections)
        most = Math.max(most, queuedBytes);
    }
    expect(received).toEqual(Array.from({ length: 50 }, () => batch).flat());
    expect(most).toBeGreaterThan(LIMITS.maxSendQueueBytes / 2);
    expect(most).toBeLessThan(LIMITS.maxSendQueueBytes + 101 * KIB);
    const { errorsByCode, activeConnections } = await server.command('stats');
    expect({ errorsByCode, activeConnections }).toEqual({
      errorsByCode: { SEND_QUEUE_FULL: 10 },
      activeConnections: 1,
    });
    expect((await server.command('memory')).peakRss - before).toBeLessThan(OVERHEAD_BYTES);
  });

  it('holds little at a time for a client that reads slowly and gets everything', async () => {
    // Those that run have their answers coming, whatever is unread; so as many of them may pile up.
    const running = 4;
    const { server, address } = await startServer({ ...LIMITS, maxConcurrentPerConnection: running });
    const proxy = await FaultProxy.listen({ target: address as { path: string } });
    atEnd(() => proxy.close());
    const peer = await connectByHand(proxy.endpoint);
    atEnd(() => peer.destroy());
    proxy.split({ bytes: 64 * KIB, gapMs: 2 }, 'toClient');

    // 12 MB of answers, three times what may be queued.
    const frames = Array.from({ length: 120 }, (__, n) =>
      requestFrame(String(n), 'blob', { bytes: 100 * KIB }),
    );
    await peer.send(...frames);
    let most = 0;
    const answers = (): number[] =>
      peer.received
        .filter(({ msg_type: type }) => type === 'response')
        .map(({ request_id: id }) => Number(id));
    await until(async () => {
      for (const { queuedBytes } of (await server.command('stats')).connections)
        most = Math.max(most, queuedBytes);
      return answers().length === 121;
    }, 10_000);
    expect(answers().slice(1)).toEqual(Array.from({ length: 120 }, (_, n) => n));
    expect(most).toBeGreaterThan(MIB / 2);
    expect(most).toBeLessThan(HELD_BACK_BYTES + (running + 1) * 101 * KIB);
  });

  it.each([
    [16, 1, 'a Unix path', {}],
    [16, 1, 'TCP', { port: 0 }],
    [4, thoroughly(16, 4), 'a Unix path', {}],
  ])(
    'never stops both ends: %d echoes of %d MB at once over %s, and pushes beside them',
    async (count, megabytes, _, where) => {
      const sizes = { maxFrameBytes: 17 * MIB };
      const { server, address } = await startServer({ ...where, ...sizes });
      const link = await connectLink(address, sizes);
      const pushed: number[] = [];
      link.pushes.subscribe('blob', (data) => pushed.push((data as { n: number }).n));
      const text = 'y'.repeat(megabytes * 1_000_000);

      const echoes = Array.from({ length: count }, (__, n) => request(link, 'echo', { n, text }));
      const { accepted } = await server.command('push', { bytes: MIB, times: 8 });
      const answers = (await Promise.all(echoes)) as { n: number; text: string }[];
      expect(answers.map(({ n }) => n)).toEqual(Array.from({ length: count }, (__, n) => n));
      expect(answers.every((answer) => answer.text === text)).toBe(true);
      expect(accepted).toBe(8);
      await until(() => pushed.length === 8);
    },
  );
});
