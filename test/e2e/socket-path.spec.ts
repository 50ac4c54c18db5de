import fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import {
  AddressInUseError,
  ConnectError,
  Link,
  ListenError,
  PathTooLongError,
  request,
  SocketServer,
  type SocketServerEvents,
  type SocketServerOptions,
} from 'nestjs-unix-socket';
import { atEnd } from '../support/at-end.js';
import { leaveDeadSocket } from '../support/dead-socket.js';
import { rejectionOf } from '../support/rejection.js';
import { tempDir, tempSocketPath } from '../support/temp-paths.js';
import { until } from '../support/until.js';

const NOBODY = 65_534;

function newServer(options: SocketServerOptions, events: SocketServerEvents = {}): SocketServer {
  const server = new SocketServer({ drainTimeoutMs: 0, ...options }, events);
  atEnd(() => server.close());
  return server.handle('who', () => options.accountId);
}

async function serve(options: SocketServerOptions, events?: SocketServerEvents): Promise<SocketServer> {
  const server = newServer(options, events);
  await server.listen();
  return server;
}

function newLink(path: string): Link {
  const link = new Link({ path, reconnect: { enabled: false } });
  atEnd(() => link.close());
  return link;
}

const whoServes = (path: string): Promise<unknown> => request(newLink(path), 'who', null);

const modeOf = (path: string): string => (fs.statSync(path).mode & 0o777).toString(8);

/** Does something as a user with no rights. Only root can; whoever is not root has none to give up. */
async function withoutRights<T>(act: () => Promise<T>): Promise<T> {
  const isRoot = process.geteuid?.() === 0;
  if (isRoot) process.seteuid?.(NOBODY);
  try {
    return await act();
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
}

describe('The path of a server', () => {
  it('is a socket for its user alone, in a directory of the same kind if that was missing; both as asked', async () => {
    const path = join(tempDir(), 'made', 'app.sock');
    const server = await serve({ path });
    expect([modeOf(dirname(path)), modeOf(path)]).toEqual(['700', '600']);
    await server.close();
    expect(fs.readdirSync(dirname(path))).toEqual([]);
    await serve({ path, mode: 0o660 });
    expect([modeOf(dirname(path)), modeOf(path)]).toEqual(['700', '660']);
  });

  it('is never taken from a live server, whom the error names', async () => {
    const path = tempSocketPath();
    await serve({ path, accountId: 'first' });
    const { ino } = fs.statSync(path);
    const error = await rejectionOf(newServer({ path, accountId: 'second' }).listen());
    expect(error).toBeInstanceOf(AddressInUseError);
    expect(error).toMatchObject({ endpoint: path, holder: expect.stringContaining('account "first"') });
    expect(fs.statSync(path).ino).toBe(ino);
    expect(await whoServes(path)).toBe('first');
  });

  it('is taken from a dead one, of which nothing stays', async () => {
    const path = tempSocketPath();
    await leaveDeadSocket(path);
    const server = await serve({ path, accountId: 'second' });
    expect(await whoServes(path)).toBe('second');
    await server.close();
    expect(fs.readdirSync(dirname(path))).toEqual([]);
  });

  it.each<[string, (path: string, beside: string) => unknown]>([
    ['a regular file', (path) => fs.writeFileSync(path, 'mine')],
    ['a directory', (path) => fs.mkdirSync(path)],
    ['a symbolic link', (path, dead) => fs.symlinkSync(dead, path)],
  ])('is left to %s that stands there', async (kind, make) => {
    const path = tempSocketPath();
    const dead = `${path}.dead`;
    await leaveDeadSocket(dead);
    make(path, dead);
    const identity = (): object => {
      const { ino, mode, ctimeNs } = fs.lstatSync(path, { bigint: true });
      return { ino, mode, ctimeNs };
    };
    const before = identity();
    const error = await rejectionOf(newServer({ path, takeOver: true }).listen());
    expect(error).toMatchObject({ code: 'ADDRESS_IN_USE', holder: expect.stringContaining(kind) });
    expect(identity()).toEqual(before);
    expect(fs.readdirSync(dirname(path)).toSorted()).toEqual([basename(path), basename(dead)].toSorted());
  });

  it('is put back when it vanishes, and made anew when its directory does', async () => {
    const path = join(tempDir(), 'made', 'app.sock');
    const news: string[] = [];
    await serve(
      { path, accountId: 'first', pathWatchIntervalMs: 10 },
      {
        onTrouble: (error) => news.push(error instanceof ListenError ? error.reason : String(error)),
        onPathRestored: () => news.push('restored'),
        onRecovered: () => news.push('recovered'),
      },
    );
    const { ino } = fs.statSync(path);
    fs.unlinkSync(path);
    await until(() => news.includes('recovered'));
    expect(news.splice(0)).toEqual(['the socket file vanished', 'restored', 'recovered']);
    expect(fs.statSync(path).ino).toBe(ino);

    fs.rmSync(dirname(path), { recursive: true });
    await until(() => news.includes('recovered'));
    expect(news).toEqual(['the socket file vanished', 'restored', 'recovered']);
    expect(await whoServes(path)).toBe('first');
  });

  it('is left to another server that stands there when it closes', async () => {
    const path = tempSocketPath();
    const first = await serve({ path, accountId: 'first', pathWatchIntervalMs: 0 });
    fs.unlinkSync(path);
    await serve({ path, accountId: 'second' });
    await first.close();
    expect(await whoServes(path)).toBe('second');
  });

  it('is refused before anything is made if it has too many bytes, though not too many characters', () => {
    const path = join(tempDir(), '€'.repeat(40));
    expect(path.length).toBeLessThan(100);
    for (const End of [SocketServer, Link]) expect(() => new End({ path })).toThrow(PathTooLongError);
    expect(fs.readdirSync(dirname(path))).toEqual([]);
  });

  it('is refused with the reason where this user may make no files', async () => {
    const directory = tempDir();
    fs.chmodSync(directory, 0o555);
    const server = newServer({ path: join(directory, 'app.sock') });
    const error = await withoutRights(() => rejectionOf(server.listen()));
    expect(error).toMatchObject({
      code: 'LISTEN_FAILED',
      reason: 'this user may not make files in its directory',
      cause: { code: 'EACCES' },
    });
  });
});

// A server whose backlog is full (EAGAIN): busy-server.spec.ts.
describe('What is wrong with a path, as its client is told', () => {
  const tells = (error: unknown, code: string, errno: string, path: string, advice: string): void => {
    expect(error).toBeInstanceOf(ConnectError);
    expect(error).toMatchObject({ code, endpoint: path, delivery: 'notSent', cause: { code: errno } });
    expect((error as Error).message).toContain(advice);
  };

  it.each<[string, string, string, string, (path: string) => unknown]>([
    ['that nothing is there', 'ENOENT', 'SOCKET_NOT_FOUND', 'start the server', () => undefined],
    ['that its server is dead', 'ECONNREFUSED', 'CONNECTION_REFUSED', 'start it again', leaveDeadSocket],
    ['that it is a file', 'ENOTSOCK', 'NOT_A_SOCKET', 'check the path', (path) => fs.writeFileSync(path, '')],
  ])('tells %s, by a code, the facts and the next step: %s', async (_what, errno, code, advice, make) => {
    const path = tempSocketPath();
    await make(path);
    tells(await rejectionOf(request(newLink(path), 'any', null)), code, errno, path, advice);
  });

  it('tells that this user may not connect, by a code, the facts and the next step: EACCES', async () => {
    const path = tempSocketPath();
    await serve({ path });
    fs.chmodSync(dirname(path), 0o755);
    // Not even the owner, where that is not root.
    fs.chmodSync(path, 0);
    const error = await withoutRights(() => rejectionOf(request(newLink(path), 'any', null)));
    tells(error, 'PERMISSION_DENIED', 'EACCES', path, 'check the mode and owner');
  });
});
