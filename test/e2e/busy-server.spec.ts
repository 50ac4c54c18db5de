import { existsSync, unlinkSync } from 'node:fs';
import { Logger } from '@nestjs/common';
import {
  Link,
  request,
  SocketServer,
  UnixSocketServer,
  type LinkEvents,
  type LinkOptions,
  type SocketServerOptions,
  type UnixSocketError,
} from 'nestjs-unix-socket';
import { atEnd } from '../support/at-end.js';
import { ChildProgram } from '../support/child-process.js';
import type { commands as serverCommands } from '../support/children/server.js';
import { compileSources } from '../support/compile.js';
import { RawPeer, type Address } from '../support/frames.js';
import { tempSocketPath } from '../support/temp-paths.js';
import { until } from '../support/until.js';

Logger.overrideLogger(false);

type ServerProgram = ChildProgram<typeof serverCommands>;

describe('A server with too much to do', () => {
  beforeAll(() => void compileSources());

  async function startServer(options: SocketServerOptions, shell = ''): Promise<ServerProgram> {
    const server = await ChildProgram.start<typeof serverCommands>('server', { options, shell });
    atEnd(() => server.kill());
    await server.command('listen');
    return server;
  }

  function makeLink(options: LinkOptions, events?: LinkEvents): Link {
    const link = new Link(
      { drainTimeoutMs: 0, reconnect: { initialDelayMs: 20, maxDelayMs: 100 }, ...options },
      events,
    );
    atEnd(() => link.close());
    return link;
  }

  async function connectRaw(address: Address): Promise<RawPeer> {
    const peer = await RawPeer.connect(address);
    atEnd(() => peer.destroy());
    return peer;
  }

  it('serves those it has while no descriptor is left, and everybody again once some have gone', async () => {
    const path = tempSocketPath();
    // Node itself needs some forty of them, or twenty.
    const server = await startServer({ path }, 'ulimit -n 64');
    const link = makeLink({ path });
    expect(await request(link, 'echo', 'before')).toBe('before');

    const peers: RawPeer[] = [];
    for (let n = 0; n < 80; n++) peers.push(await connectRaw({ path }));
    // Whoever finds none left is turned away, without a word, since a word would need one.
    const onRetry = jest.fn<void, Parameters<NonNullable<LinkEvents['onRetry']>>>();
    const late = makeLink({ path, connectTimeoutMs: 300 }, { onRetry });
    const waiting = request(late, 'echo', 'late');
    await until(() => onRetry.mock.calls.length >= 3);
    const [[, , error]] = onRetry.mock.calls as [[number, number, UnixSocketError]];
    expect(['CONNECTION_LOST', 'CONNECT_TIMEOUT']).toContain(error.code);
    for (let n = 0; n < 20; n++) expect(await request(link, 'echo', n)).toBe(n);

    for (const peer of peers) peer.destroy();
    expect(await waiting).toBe('late');
    expect(link.getStats().reconnects).toBe(0);
    await until(async () => (await server.command('stats')).activeConnections === 2);
  });

  it('goes on when accepting a connection fails, and says so', async () => {
    const path = tempSocketPath();
    const onTrouble = jest.fn();
    const server = new SocketServer({ path, drainTimeoutMs: 0 }, { onTrouble });
    atEnd(() => server.close());
    await server.listen();
    server.handle('echo', (data) => data);
    // What Node does with an error of accept(2) that libuv does not handle by itself.
    const failure = Object.assign(new Error('accept ENFILE'), { code: 'ENFILE', syscall: 'accept' });
    server.netServer.emit('error', failure);
    expect(onTrouble.mock.calls).toEqual([[failure]]);
    expect(server.getStats().errorsByCode).toEqual({ ENFILE: 1 });
    expect(await request(makeLink({ path }), 'echo', 1)).toBe(1);
  });

  it('is dialled again with growing, random delays while its backlog is full', async () => {
    const path = tempSocketPath();
    const server = await startServer({ path, backlog: 1 });
    server.freeze();
    // The kernel takes connections for it until the backlog is full.
    const isFull = (): Promise<boolean> =>
      connectRaw({ path }).then(
        () => false,
        ({ code }: NodeJS.ErrnoException) => code === 'EAGAIN',
      );
    await until(isFull);

    const retries: { attempt: number; delayMs: number; error: UnixSocketError }[] = [];
    const links = Array.from({ length: 5 }, () =>
      makeLink(
        { path, reconnect: { initialDelayMs: 30, multiplier: 2, maxDelayMs: 120 } },
        { onRetry: (attempt, delayMs, error) => retries.push({ attempt, delayMs, error }) },
      ),
    );
    const answers = links.map((link, n) => request(link, 'echo', n));
    await until(() => links.every((link) => link.getStats().attempts > 4));
    server.thaw();
    expect(await Promise.all(answers)).toEqual([0, 1, 2, 3, 4]);

    for (const { attempt, delayMs, error } of retries) {
      expect(error).toMatchObject({
        name: 'ConnectError',
        code: 'SERVER_BUSY',
        delivery: 'notSent',
        cause: { code: 'EAGAIN' },
      });
      // The first retry is the second attempt.
      expect(delayMs).toBeLessThanOrEqual(Math.min(30 * 2 ** (attempt - 2), 120));
    }
    // Nobody comes back in step with the others.
    const delays = retries.map(({ delayMs }) => delayMs);
    expect(new Set(delays).size).toBe(delays.length);
    expect(Math.max(...delays)).toBeGreaterThan(30);
  });

  it('serves a crowd that comes all at once, however short its backlog', async () => {
    const path = tempSocketPath();
    const server = await startServer({ path, backlog: 4 });
    const busy = jest.fn();
    const links = Array.from({ length: 200 }, () =>
      makeLink({ path }, { onRetry: (_attempt, _delayMs, { code }) => busy(code) }),
    );
    const answers = await Promise.all(links.map((link, n) => request(link, 'echo', n)));
    expect(answers).toEqual(links.map((_, n) => n));
    // It was a crowd.
    expect(new Set(busy.mock.calls.flat())).toEqual(new Set(['SERVER_BUSY']));
    expect(await server.command('stats')).toMatchObject({ totalConnections: 200, activeConnections: 200 });
  });

  it('turns away connections beyond its limit, counts them, and takes them when there is room', async () => {
    const path = tempSocketPath();
    const refused = jest.fn();
    const server = new UnixSocketServer({ path, maxConnections: 2, drainTimeoutMs: 0 });
    atEnd(() => server.close());
    server.handle('echo', (data) => data).on('refused', refused);
    await new Promise<unknown>((resolve) => server.listen(resolve));
    const inside = [makeLink({ path }), makeLink({ path })];
    await Promise.all(inside.map((link) => link.connect()));

    const plain = await connectRaw({ path });
    expect(await plain.next()).toMatchObject({
      msg_type: 'error',
      request_id: '',
      error_detail: { code: 'TOO_MANY_CONNECTIONS' },
    });
    await plain.ended;
    expect(plain.received).toHaveLength(1);

    const reasons: UnixSocketError[] = [];
    const outside = makeLink({ path }, { onRetry: (_attempt, _delayMs, error) => reasons.push(error) });
    const waiting = request(outside, 'echo', 'at last');
    await until(() => reasons.length === 2);
    expect(reasons[0]).toMatchObject({
      name: 'ConnectionRefusedByServerError',
      code: 'REFUSED_BY_SERVER',
      delivery: 'notSent',
      reason: 'it has its limit of 2 connections',
    });
    expect(await request(inside[1] as Link, 'echo', 'undisturbed')).toBe('undisturbed');
    await inside[0]?.close();
    expect(await waiting).toBe('at last');

    const { refusedConnections, activeConnections, totalConnections } = server.getStats();
    expect({ activeConnections, totalConnections }).toEqual({ activeConnections: 2, totalConnections: 3 });
    expect(refusedConnections).toBe(1 + reasons.length);
    expect(refused.mock.calls).toEqual(
      Array.from({ length: refusedConnections }, () => ['it has its limit of 2 connections']),
    );
  });

  it('is degraded while it cannot accept or its path is gone, and well again when neither is so', async () => {
    const path = tempSocketPath();
    const server = new UnixSocketServer({ path, pathWatchIntervalMs: 10 });
    atEnd(() => server.close());
    const statuses: string[] = [];
    server.status.subscribe((status) => statuses.push(status));
    await new Promise((resolve) => server.listen(resolve));
    const isAgain = (status: string): Promise<void> => until(() => statuses.at(-1) === status);

    unlinkSync(path);
    await until(() => statuses.length > 2);
    expect(statuses.slice(-3)).toEqual(['connected', 'degraded', 'connected']);

    // As Node tells of it; the kernel hardly ever lets it happen.
    const failure = Object.assign(new Error('accept EMFILE'), { code: 'EMFILE' });
    server.unwrap().emit('error', failure);
    await isAgain('degraded');
    expect(server.getStats().errorsByCode).toMatchObject({ EMFILE: 1, LISTEN_FAILED: 1 });
    await connectRaw({ path });
    await isAgain('connected');

    server.unwrap().emit('error', failure);
    unlinkSync(path);
    await until(() => existsSync(path));
    expect(statuses.at(-1)).toBe('degraded');
    await connectRaw({ path });
    await isAgain('connected');
  });
});
