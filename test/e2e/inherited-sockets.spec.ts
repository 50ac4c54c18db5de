import { closeSync, existsSync, openSync, statSync } from 'node:fs';
import { join } from 'node:path';
import {
  InvalidOptionError,
  Link,
  ListenError,
  request,
  SocketServer,
  type SocketServerOptions,
  type UnixSocketError,
} from 'nestjs-unix-socket';
import { atEnd } from '../support/at-end.js';
import { ChildProgram } from '../support/child-process.js';
import type { commands as clusterCommands } from '../support/children/cluster-server.js';
import type { commands as serverCommands } from '../support/children/server.js';
import { compileSources } from '../support/compile.js';
import type { Address } from '../support/frames.js';
import { unusedAddress } from '../support/python-endpoints.js';
import { findPython } from '../support/python-process.js';
import { rejectionOf } from '../support/rejection.js';
import { tempSocketPath } from '../support/temp-paths.js';

type ServerProgram = ChildProgram<typeof serverCommands>;

const LAUNCHER = join(__dirname, '../support/python/pass_sockets.py');
const [NODE_MAJOR = 0] = process.versions.node.split('.').map(Number);

beforeAll(() => void compileSources());

async function connectLink(address: Address | { abstract: string }): Promise<Link> {
  const link = new Link({ ...address, drainTimeoutMs: 0, reconnect: { initialDelayMs: 10, maxDelayMs: 50 } });
  atEnd(() => link.close());
  await link.connect();
  return link;
}

const python = findPython();
const inherited =
  'A listening socket that a server inherits' +
  (python === undefined ? ' (skipped: there is no python3 of version 3.10 or newer on the PATH)' : '');

(python === undefined ? describe.skip : describe)(inherited, () => {
  /** A server whose process has these sockets from the start, from descriptor 3 on. */
  async function startWith(
    sockets: readonly Address[],
    options: SocketServerOptions,
    env: Record<string, string> = {},
  ): Promise<ServerProgram> {
    const order = JSON.stringify({ sockets, env });
    const server = await ChildProgram.start<typeof serverCommands>('server', {
      options,
      shell: `exec '${python}' '${LAUNCHER}' '${order}' "$@"`,
    });
    atEnd(() => server.kill());
    return server;
  }

  it('is served, given as a descriptor, and keeps its file when the server closes', async () => {
    const path = tempSocketPath();
    const server = await startWith([{ path }], { fd: 3 });
    const before = statSync(path);
    expect(await server.command('listen')).toEqual({ address: 'descriptor 3' });
    const link = await connectLink({ path });
    expect(await request(link, 'pid', null)).toBe(server.pid);

    expect(await server.command('close')).toEqual({ cancelled: 0, unanswered: 0, unfinishedConnections: 0 });
    // It is the file of whoever made it: as it was, and no other beside it.
    const { ino, mode } = statSync(path);
    expect({ ino, mode }).toEqual({ ino: before.ino, mode: before.mode });
    await server.kill();
    expect(existsSync(path)).toBe(true);
  });

  it('may be one of TCP', async () => {
    const address = await unusedAddress('tcp');
    const server = await startWith([address], { fd: 3 });
    await server.command('listen');
    const link = await connectLink(address);
    expect(await request(link, 'pid', null)).toBe(server.pid);
  });

  it('is refused as an error of listening if the descriptor is no socket, or none at all', async () => {
    const file = openSync(__filename, 'r');
    atEnd(() => closeSync(file));
    for (const fd of [file, 99_999]) {
      const server = new SocketServer({ fd });
      expect(await rejectionOf(server.listen())).toBeInstanceOf(ListenError);
      await server.close();
    }
  });

  it('is found by what systemd says of it', async () => {
    const path = tempSocketPath();
    const server = await startWith([{ path }], { systemd: true }, { LISTEN_PID: '$PID', LISTEN_FDS: '1' });
    await server.command('listen');
    const link = await connectLink({ path });
    expect(await request(link, 'pid', null)).toBe(server.pid);
    await server.command('close');
    expect(existsSync(path)).toBe(true);
  });

  it('is found by its name among others', async () => {
    const paths = [tempSocketPath(), tempSocketPath()];
    const server = await startWith(
      paths.map((path) => ({ path })),
      { systemd: 'orders' },
      { LISTEN_PID: '$PID', LISTEN_FDS: '2', LISTEN_FDNAMES: 'admin:orders' },
    );
    expect(await server.command('listen')).toEqual({ address: 'descriptor 4' });
    const link = await connectLink({ path: paths[1] as string });
    expect(await request(link, 'pid', null)).toBe(server.pid);
  });

  it.each<[string, string | true, Record<string, string>]>([
    ['it is meant for another process', true, { LISTEN_PID: '1', LISTEN_FDS: '1' }],
    ['there are several', true, { LISTEN_PID: '$PID', LISTEN_FDS: '2', LISTEN_FDNAMES: 'admin:orders' }],
    ['it has another name', 'orders', { LISTEN_PID: '$PID', LISTEN_FDS: '1', LISTEN_FDNAMES: 'admin' }],
    ['systemd passed none', true, {}],
  ])('is not taken when %s', async (_, systemd, env) => {
    const starting = startWith([{ path: tempSocketPath() }], { systemd }, env);
    // The constructor throws, which ends this program.
    expect(String(await rejectionOf(starting))).toMatch(/InvalidOptionError: Option "systemd" is/);
  });
});

const abstractName = `nus-test-${process.pid}-${Math.random().toString(36).slice(2)}`;

(NODE_MAJOR < 22 ? describe : describe.skip)('An abstract socket, on a Node that pads its name', () => {
  it('is refused by both ends', () => {
    for (const End of [SocketServer, Link])
      expect(() => new End({ abstract: abstractName })).toThrow(InvalidOptionError);
  });
});

(NODE_MAJOR < 22 ? describe.skip : describe)('An abstract socket, on Node 22 or newer', () => {
  it('is served by its name alone, and free again once its server has closed', async () => {
    for (let round = 0; round < 2; round++) {
      const server = new SocketServer({ abstract: abstractName }).handle('echo', (data) => data);
      atEnd(() => server.close());
      await server.listen();
      const link = await connectLink({ abstract: abstractName });
      expect(await request(link, 'echo', round)).toBe(round);
      const second = new SocketServer({ abstract: abstractName });
      expect(await rejectionOf(second.listen())).toMatchObject({ code: 'ADDRESS_IN_USE' });
      await link.close();
      await server.close();
    }
  });
});

describe('A path shared by the workers of a cluster', () => {
  type Cluster = ChildProgram<typeof clusterCommands>;

  async function startCluster(policy: 'rr' | 'none', count: number): Promise<[Cluster, string, number[]]> {
    const path = tempSocketPath();
    const program = await ChildProgram.start<typeof clusterCommands>('cluster-server', {
      options: { path, policy, pathWatchIntervalMs: 20 },
    });
    atEnd(() => program.kill());
    return [program, path, await program.command('start', { count })];
  }

  /** A connection to each of as many workers as possible. */
  async function connectToAll(path: string, count: number): Promise<Map<Link, number>> {
    const links = await Promise.all(Array.from({ length: count }, () => connectLink({ path })));
    const pids = await Promise.all(links.map((link) => request(link, 'pid', null)));
    return new Map(links.map((link, i) => [link, pids[i] as number]));
  }

  it.each(['rr', 'none'] as const)(
    'is served by all of them, and no worse when one is killed or leaves (scheduling: %s)',
    async (policy) => {
      const [program, path, pids] = await startCluster(policy, 3);
      const links = await connectToAll(path, 30);
      // The kernel hands out connections as it likes; the primary in turn.
      if (policy === 'rr') expect(new Set(links.values())).toEqual(new Set(pids));

      const [killed, leaving, last] = pids as [number, number, number];
      await program.command('kill', { pid: killed });
      expect(existsSync(path)).toBe(true);
      for (const [link, pid] of links) {
        if (pid === killed) continue;
        expect(await request(link, 'pid', null)).toBe(pid);
        expect(link.getStats().reconnects).toBe(0);
      }
      for (const pid of (await connectToAll(path, 10)).values()) expect([leaving, last]).toContain(pid);

      await program.command('close', { pid: leaving });
      expect(existsSync(path)).toBe(true);
      expect(new Set((await connectToAll(path, 10)).values())).toEqual(new Set([last]));
      // Also for those that had been connected to the others.
      for (const link of links.keys()) expect(await request(link, 'pid', null)).toBe(last);

      await program.command('close', { pid: last });
      expect(existsSync(path)).toBe(false);
      const [first] = [...links.keys()] as [Link];
      const failure = (await rejectionOf(request(first, 'pid', null, { timeoutMs: 100 }))) as UnixSocketError;
      expect(failure).toMatchObject({ delivery: 'notSent', cause: { code: 'SOCKET_NOT_FOUND' } });

      const [anew] = await program.command('start', { count: 1 });
      expect(await request(first, 'pid', null)).toBe(anew);
    },
  );
});
