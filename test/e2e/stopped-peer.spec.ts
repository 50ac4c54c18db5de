import {
  Link,
  request,
  SocketServer,
  type LinkEvents,
  type LinkOptions,
  type SocketServerEvents,
  type SocketServerOptions,
  type UnixSocketError,
} from 'nestjs-unix-socket';
import { FaultProxy } from 'nestjs-unix-socket/testing';
import { setTimeout as delay } from 'node:timers/promises';
import { atEnd } from '../support/at-end.js';
import { ChildProgram } from '../support/child-process.js';
import type { commands as clientCommands } from '../support/children/client.js';
import type { commands as serverCommands } from '../support/children/server.js';
import { compileSources } from '../support/compile.js';
import type { Address } from '../support/frames.js';
import { tempSocketPath } from '../support/temp-paths.js';
import { until } from '../support/until.js';

type ServerProgram = ChildProgram<typeof serverCommands>;
type ClientProgram = ChildProgram<typeof clientCommands>;

const TIMEOUT_MS = 700;
const QUICK = { intervalMs: TIMEOUT_MS / 4, timeoutMs: TIMEOUT_MS };
/** Where both ends are in this process: a busy machine holds up both alike. */
const HERE_MS = 240;
const HERE = { intervalMs: HERE_MS / 4, timeoutMs: HERE_MS };
const PATIENT = { intervalMs: 100, timeoutMs: 60_000 };
/** Silence is looked at four times within the timeout, so a verdict is up to a fourth late; the rest is a busy machine. */
const LATEST_VERDICT_MS = TIMEOUT_MS * 1.25 + 2_000;

describe('A peer that is stopped or slow', () => {
  beforeAll(() => void compileSources());

  async function startServer(options: SocketServerOptions): Promise<ServerProgram> {
    const server = await ChildProgram.start<typeof serverCommands>('server', { options });
    atEnd(() => server.kill());
    await server.command('listen');
    return server;
  }

  async function startClient(options: LinkOptions): Promise<ClientProgram> {
    const client = await ChildProgram.start<typeof clientCommands>('client', { options });
    atEnd(() => client.kill());
    await client.command('connect');
    return client;
  }

  async function listen(options: SocketServerOptions, events?: SocketServerEvents): Promise<SocketServer> {
    const server = new SocketServer({ drainTimeoutMs: 0, ...options }, events);
    atEnd(() => server.close());
    await server.listen();
    server.handle('echo', (data) => data);
    return server;
  }

  async function connect(options: LinkOptions, events?: LinkEvents): Promise<Link> {
    const link = new Link(
      { drainTimeoutMs: 0, reconnect: { initialDelayMs: 20, maxDelayMs: 50 }, ...options },
      events,
    );
    atEnd(() => link.close());
    await link.connect();
    return link;
  }

  it('is noticed by its clients within their heartbeat timeout, and served by again when it goes on', async () => {
    const path = tempSocketPath();
    const server = await startServer({ path, heartbeat: PATIENT });
    const onDisconnect = jest.fn<void, [UnixSocketError]>();
    const link = await connect({ path, heartbeat: QUICK, connectTimeoutMs: 200 }, { onDisconnect });
    expect(await request(link, 'echo', 1)).toBe(1);

    server.freeze();
    const stoppedAt = performance.now();
    const pending = request(link, 'echo', 2).catch((error: UnixSocketError) => error);
    expect(await pending).toMatchObject({
      name: 'ConnectionLostError',
      delivery: 'sentNoReply',
      cause: { name: 'PeerSilentError', timeoutMs: TIMEOUT_MS },
    });
    expect(performance.now() - stoppedAt).toBeLessThan(LATEST_VERDICT_MS);
    expect(onDisconnect.mock.calls).toEqual([[expect.objectContaining({ code: 'PEER_SILENT' })]]);

    // The kernel goes on taking connections for it, so an attempt that is not greeted has to end too.
    const waiting = request(link, 'echo', 3);
    await delay(250);
    expect(link.getStats()).toMatchObject({ waiting: 1, pending: 0 });
    server.thaw();
    expect(await waiting).toBe(3);
    expect(link.getStats()).toMatchObject({ state: 'ready', reconnects: 1 });
  });

  it('is reaped by its server within the heartbeat timeout, its work is cancelled, and it comes back', async () => {
    const path = tempSocketPath();
    const reaped = new Promise<Error | undefined>((resolve) => {
      void listen({ path, heartbeat: QUICK }, { onDisconnect: (_, cause) => resolve(cause) }).then((server) =>
        server.handle('hold', (_, { signal }) => {
          signals.push(signal);
          return new Promise(() => undefined);
        }),
      );
    });
    const signals: AbortSignal[] = [];
    const client = await startClient({
      path,
      heartbeat: PATIENT,
      reconnect: { initialDelayMs: 20, maxDelayMs: 50 },
    });
    const pending = client.command('request', { type: 'hold', data: null });
    await until(() => signals.length === 1);

    client.freeze();
    const stoppedAt = performance.now();
    expect(await reaped).toMatchObject({ name: 'PeerSilentError', timeoutMs: TIMEOUT_MS });
    expect(performance.now() - stoppedAt).toBeLessThan(LATEST_VERDICT_MS);
    expect(signals[0]?.reason).toMatchObject({ code: 'PEER_SILENT' });

    client.thaw();
    await expect(pending).rejects.toThrow('lost before the answer came');
    expect(await client.command('request', { type: 'echo', data: 'back' })).toBe('back');
  });

  it('is measured by both ends', async () => {
    const server = await listen({ path: tempSocketPath(), heartbeat: { intervalMs: 150 } });
    const proxy = await FaultProxy.listen({ target: server.endpoint as { path: string } });
    atEnd(() => proxy.close());
    const link = await connect({ ...proxy.endpoint, heartbeat: { intervalMs: 150 } });
    const measured = (): (number | undefined)[] => [
      server.getStats().connections[0]?.roundTripMs,
      link.getStats().lastRoundTripMs,
    ];
    await until(() => measured().every((ms) => ms !== undefined && ms > 0 && ms < 100));
    // Longer ways take longer, whoever asks.
    proxy.delay(50);
    await until(() => measured().every((ms) => ms !== undefined && ms >= 100));
  });

  it('is not given up while a large frame of it arrives slowly, over a Unix path or TCP', async () => {
    const onLost = jest.fn();
    const limits = { heartbeat: HERE, frameTimeoutMs: HERE_MS };
    const sendSlowly = async (address: Address): Promise<void> => {
      const server = await listen({ ...address, ...limits }, { onDisconnect: onLost });
      const target = server.endpoint as Address;
      const proxy = await FaultProxy.listen({
        target,
        listen: 'path' in target ? { path: tempSocketPath() } : { port: 0 },
      });
      atEnd(() => proxy.close());
      const link = await connect({ ...proxy.endpoint, ...limits }, { onDisconnect: onLost });
      // Probes and their answers wait behind it, so for longer than the timeout there is nothing but its bytes.
      const text = 'x'.repeat(1_000_000);
      proxy.split({ bytes: 64 * 1024, gapMs: 30 });
      const startedAt = performance.now();
      expect((await request(link, 'echo', text)) === text).toBe(true);
      expect(performance.now() - startedAt).toBeGreaterThan(3 * HERE_MS);
      proxy.clear();
      // Nor afterwards.
      await delay(2 * HERE_MS);
    };
    await Promise.all([sendSlowly({ path: tempSocketPath() }), sendSlowly({ port: 0 })]);
    expect(onLost).not.toHaveBeenCalled();
  });

  it('is not given up while its handlers are slow and every slot is busy, and hears a cancel', async () => {
    const path = tempSocketPath();
    const onLost = jest.fn();
    const signals: AbortSignal[] = [];
    const server = await listen(
      { path, heartbeat: HERE, maxConcurrentPerConnection: 2 },
      { onDisconnect: onLost },
    );
    server.handle('hold', (_, { signal }) => {
      signals.push(signal);
      return new Promise((resolve) => signal.addEventListener('abort', resolve));
    });
    const link = await connect({ path, heartbeat: HERE }, { onDisconnect: onLost });
    const aborts = Array.from({ length: 5 }, () => new AbortController());
    const held = aborts.map(({ signal }) =>
      request(link, 'hold', null, { signal }).catch((error: UnixSocketError) => error.code),
    );
    await delay(3 * HERE_MS);
    expect(onLost).not.toHaveBeenCalled();
    expect(server.getStats()).toMatchObject({ inFlight: 2, queued: 3 });
    // Those that wait first, so that no slot comes free for them before.
    for (const abort of aborts.toReversed()) abort.abort();
    expect(await Promise.all(held)).toEqual(held.map(() => 'REQUEST_ABORTED'));
    await until(() => signals.every((signal) => signal.aborted));
    expect(await request(link, 'echo', 1)).toBe(1);
    // Three of them never ran.
    expect(signals).toHaveLength(2);
    expect(onLost).not.toHaveBeenCalled();
  });

  it('is not accused by an end that was stopped or busy itself for longer than the timeout', async () => {
    type Pause = (program: { freeze(): void; thaw(): void }, block: () => Promise<void>) => Promise<void>;
    const stop: Pause = async (program) => {
      program.freeze();
      await delay(2 * TIMEOUT_MS);
      program.thaw();
    };
    const compute: Pause = (_program, block) => block();

    const pauseClient = async (pause: Pause): Promise<void> => {
      const path = tempSocketPath();
      const server = await listen({ path, heartbeat: PATIENT });
      const client = await startClient({ path, heartbeat: QUICK });
      const { connectionId } = await client.command('stats');
      await pause(client, () => client.command('block', { ms: 2 * TIMEOUT_MS }));
      expect(await client.command('request', { type: 'echo', data: 'still here' })).toBe('still here');
      await delay(TIMEOUT_MS);
      expect(await client.command('stats')).toMatchObject({ connectionId, reconnects: 0, state: 'ready' });
      expect(server.getStats()).toMatchObject({ totalConnections: 1, activeConnections: 1 });
    };
    const pauseServer = async (pause: Pause): Promise<void> => {
      const path = tempSocketPath();
      const server = await startServer({ path, heartbeat: QUICK });
      const onLost = jest.fn();
      const link = await connect({ path, heartbeat: PATIENT }, { onDisconnect: onLost });
      await pause(server, () => server.command('block', { ms: 2 * TIMEOUT_MS }));
      expect(await request(link, 'echo', 'still here')).toBe('still here');
      await delay(TIMEOUT_MS);
      expect(onLost).not.toHaveBeenCalled();
      expect(await server.command('stats')).toMatchObject({ totalConnections: 1, errors: 0 });
    };
    await Promise.all([pauseClient(stop), pauseClient(compute), pauseServer(stop), pauseServer(compute)]);
  });
});
