import cluster from 'node:cluster';
import fs from 'node:fs';
import net, { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import {
  AddressInUseError,
  Link,
  request,
  SocketServer,
  type LinkOptions,
  type ServerCloseReport,
  type SocketServerOptions,
} from 'nestjs-unix-socket';
import { atEnd } from '../support/at-end.js';
import { ChildProgram } from '../support/child-process.js';
import type { commands as serverCommands } from '../support/children/server.js';
import type { commands as successorCommands } from '../support/children/successor.js';
import { compileSources } from '../support/compile.js';
import { RawPeer } from '../support/frames.js';
import { startNestServer } from '../support/nest-server.js';
import { rejectionOf } from '../support/rejection.js';
import { tempSocketPath } from '../support/temp-paths.js';
import { thoroughly } from '../support/thoroughly.js';
import { until } from '../support/until.js';
import { hello, nextWhere } from '../support/wire.js';

type ServerProgram = ChildProgram<typeof serverCommands>;
type SuccessorProgram = ChildProgram<typeof successorCommands>;

const TAKE_OVERS = thoroughly(20, 3);
const WATCH_MS = 20;

interface Watched {
  readonly server: SocketServer;
  /** What it told about its path, in order. */
  readonly news: string[];
}

function newServer(options: SocketServerOptions): Watched {
  const news: string[] = [];
  const server = new SocketServer(
    { takeOver: true, pathWatchIntervalMs: WATCH_MS, ...options },
    {
      onTrouble: ({ message }) => news.push(message),
      onPathRestored: () => news.push('restored'),
      onTakenOver: () => news.push('taken over'),
    },
  );
  server.handle('who', () => options.accountId);
  atEnd(() => server.close());
  return { server, news };
}

async function startServer(options: SocketServerOptions): Promise<Watched> {
  const watched = newServer(options);
  await watched.server.listen();
  return watched;
}

async function startProgram<P extends ServerProgram | SuccessorProgram>(
  name: string,
  options: SocketServerOptions = {},
): Promise<P> {
  const program = await ChildProgram.start(name, { options });
  atEnd(() => program.kill());
  return program as P;
}

function newLink(options: LinkOptions): Link {
  const link = new Link({
    drainTimeoutMs: 0,
    reconnect: { initialDelayMs: 5, maxDelayMs: 50 },
    ...options,
  });
  atEnd(() => link.close());
  return link;
}

/** Who answers a new client. */
async function whoServes(path: string): Promise<unknown> {
  const link = newLink({ path });
  const name = await request(link, 'who', null);
  await link.close();
  return name;
}

/** A successor made by hand, that has the owner's answer. */
async function askByHand(path: string): Promise<{ peer: RawPeer; answer: unknown }> {
  const peer = await RawPeer.connect({ path });
  atEnd(() => peer.destroy());
  await peer.next();
  await peer.send(hello({ take_over: true }));
  const { error_detail: detail } = await nextWhere(peer, ({ msg_type: type }) => type === 'error');
  return { peer, answer: (detail as { code: string }).code };
}

/** Calls of several kinds, all the time and from several clients, until they are told to stop. */
class Load {
  answered = 0;
  readonly failures: unknown[] = [];
  private isStopping = false;
  private readonly callers: Promise<void>[];

  constructor(private readonly path: string) {
    const links = [newLink({ path }), newLink({ path }), newLink({ path })];
    this.callers = links.flatMap((link) => [
      this.callAgainAndAgain((n) => request(link, 'echo', n)),
      this.callAgainAndAgain((n) => request(link, 'echo', n, { idempotent: true })),
      // One that is usually in flight when its server is replaced.
      this.callAgainAndAgain((n) => request(link, 'slowEcho', { ms: n % 40, value: n })),
      this.callAgainAndAgain((n) =>
        request(link, 'slowEcho', { ms: n % 40, value: n }, { idempotent: true }),
      ),
    ]);
    // One that is usually about to connect.
    this.callers.push(this.callAgainAndAgain((n) => this.callOnce(n)));
  }

  async stop(): Promise<void> {
    this.isStopping = true;
    await Promise.all(this.callers);
  }

  private async callOnce(n: number): Promise<unknown> {
    const link = new Link({ path: this.path, reconnect: { initialDelayMs: 5, maxDelayMs: 50 } });
    try {
      return await request(link, 'echo', n);
    } finally {
      await link.close();
    }
  }

  private async callAgainAndAgain(call: (n: number) => Promise<unknown>): Promise<void> {
    for (let n = 0; !this.isStopping; n++) {
      try {
        const answer = await call(n);
        if (answer === n) this.answered++;
        else this.failures.push({ asked: n, answer });
      } catch (error) {
        this.failures.push(error);
      }
      // The processes that are to take over need some of the machine too.
      if (n % 8 === 0) await delay(1);
    }
  }
}

describe('Taking a path over', () => {
  beforeAll(() => void compileSources());

  it(`fails no call, idempotent or not, ${TAKE_OVERS} times in a row`, async () => {
    const path = tempSocketPath();
    const options = { path, takeOver: true, pathWatchIntervalMs: WATCH_MS };
    let owner = await startProgram<ServerProgram>('server', options);
    await owner.command('listen');
    let nextProgram = startProgram<ServerProgram>('server', options);
    const load = new Load(path);
    const inode = (): number => fs.statSync(path).ino;
    const pids = new Set<unknown>();
    for (let round = 0; round < TAKE_OVERS; round++) {
      const answeredBefore = load.answered;
      await until(() => load.answered > answeredBefore + 20);
      const inodeBefore = inode();
      const successor = await nextProgram;
      if (round < TAKE_OVERS - 1) nextProgram = startProgram<ServerProgram>('server', options);
      await successor.command('listen');
      expect(inode()).not.toBe(inodeBefore);
      await owner.waitFor('takenOver');
      const report = (await owner.command('close')) as ServerCloseReport;
      expect({ round, ...report }).toEqual({ round, cancelled: 0, unanswered: 0, unfinishedConnections: 0 });
      // It did not count as an accident.
      expect(owner.events.filter(({ event }) => event === 'trouble')).toEqual([]);
      await owner.kill();
      const link = newLink({ path });
      pids.add(await request(link, 'pid', null));
      await link.close();
      owner = successor;
    }
    await load.stop();
    expect(load.failures).toEqual([]);
    expect(load.answered).toBeGreaterThan(20 * TAKE_OVERS);
    expect(pids.size).toBe(TAKE_OVERS);
    await owner.command('close');
    expect(fs.existsSync(path)).toBe(false);
  }, 60_000);

  it('is told to those who run the old server, which closes by itself', async () => {
    const options = { path: tempSocketPath(), takeOver: true };
    const first = await startNestServer({}, options);
    const heard: string[] = [];
    first.server.on('takenOver', () => heard.push('takenOver'));
    first.server.on('close', () => heard.push('close'));
    first.server.on('trouble', ({ message }) => heard.push(message));
    const second = await startNestServer({}, options);
    second.server.handle('who', () => 'second');
    await until(() => heard.length === 2);
    expect(heard).toEqual(['takenOver', 'close']);
    await expect(whoServes(options.path)).resolves.toBe('second');
  });

  describe('is refused', () => {
    it.each([
      ['the owner does not allow it', { owner: false, starter: true }, 'does not allow a take-over'],
      ['the starting server does not want it', { owner: true, starter: false }, 'account "first"'],
      ['neither says anything', { owner: undefined, starter: undefined }, 'account "first"'],
    ])('when %s', async (_when, { owner, starter }, text) => {
      const path = tempSocketPath();
      const { news } = await startServer({ path, accountId: 'first', takeOver: owner });
      const { server } = newServer({ path, accountId: 'second', takeOver: starter });
      const error = await rejectionOf(server.listen());
      expect(error).toBeInstanceOf(AddressInUseError);
      expect((error as AddressInUseError).holder).toContain(text);
      await expect(whoServes(path)).resolves.toBe('first');
      expect(news).toEqual([]);
    });

    it('when the owner does not allow it, to one that asks all the same', async () => {
      const path = tempSocketPath();
      const { news } = await startServer({ path, accountId: 'first', takeOver: false });
      const { answer } = await askByHand(path);
      expect(answer).toBe('TAKE_OVER_REFUSED');
      expect(news).toEqual([]);
    });

    it('by an owner that is closing', async () => {
      const path = tempSocketPath();
      const { server } = await startServer({ path, accountId: 'first', drainTimeoutMs: 2_000 });
      const peer = await RawPeer.connect({ path });
      atEnd(() => peer.destroy());
      await peer.next();
      await peer.send(hello());
      const closing = server.close();
      await nextWhere(peer, ({ msg_type: type }) => type === 'error');
      await peer.send(hello({ take_over: true }));
      expect(await nextWhere(peer, ({ msg_type: type }) => type === 'error')).toMatchObject({
        error_detail: { code: 'TAKE_OVER_REFUSED' },
      });
      peer.end();
      await closing;
    });

    it('while another one has the consent', async () => {
      const path = tempSocketPath();
      const { news } = await startServer({ path, accountId: 'first' });
      const { peer, answer } = await askByHand(path);
      expect(answer).toBe('TAKE_OVER_GRANTED');
      const second = newServer({ path, accountId: 'second' });
      await expect(second.server.listen()).rejects.toMatchObject({
        code: 'ADDRESS_IN_USE',
        holder: expect.stringContaining('refused the take-over'),
      });
      peer.destroy();
      // Once the first one has given up, the next one may.
      await until(async () => (await askAgain(path)) === 'TAKE_OVER_GRANTED');
      expect(news).toEqual([]);
    });

    it('when there is no server but a file', async () => {
      const path = tempSocketPath();
      fs.writeFileSync(path, 'mine');
      const { server } = newServer({ path });
      await expect(server.listen()).rejects.toMatchObject({
        code: 'ADDRESS_IN_USE',
        holder: expect.stringContaining('a regular file'),
      });
      expect(fs.readFileSync(path, 'utf8')).toBe('mine');
    });

    it('by the workers of a cluster, who have it together', async () => {
      const path = tempSocketPath();
      await startServer({ path });
      jest.replaceProperty(cluster, 'isWorker', true);
      const { answer } = await askByHand(path);
      jest.restoreAllMocks();
      expect(answer).toBe('TAKE_OVER_REFUSED');
    });
  });

  describe('by a successor that fails', () => {
    async function askingProgram(path: string): Promise<SuccessorProgram> {
      const successor = await startProgram<SuccessorProgram>('successor');
      await expect(successor.command('ask', { path })).resolves.toBe(true);
      return successor;
    }

    /** The owner serves at its path, and puts it back when it vanishes. */
    async function expectWatched(path: string, { news }: Watched): Promise<void> {
      await expect(whoServes(path)).resolves.toBe('first');
      const past = news.length;
      fs.unlinkSync(path);
      await until(() => news.length === past + 2);
      expect(news.slice(past)).toEqual([expect.stringContaining('vanished'), 'restored']);
      await expect(whoServes(path)).resolves.toBe('first');
    }

    it('leaves the path to its owner when it is killed with the consent', async () => {
      const path = tempSocketPath();
      const owner = await startServer({ path, accountId: 'first' });
      const successor = await askingProgram(path);
      await successor.kill();
      await until(() => owner.server.connectionCount === 0);
      expect(owner.news).toEqual([]);
      await expectWatched(path, owner);
    });

    it('leaves the path to its owner when it is killed right after it has taken it', async () => {
      // The owner saw that the path was not its own any more, and closed: nobody was left.
      const path = tempSocketPath();
      const owner = await startServer({ path, accountId: 'first' });
      const successor = await askingProgram(path);
      await successor.command('place', { path });
      await successor.kill();
      await until(() => owner.news.includes('restored'));
      expect(owner.news).not.toContain('taken over');
      await expectWatched(path, owner);
    });

    it('leaves the path to its owner when it takes too long', async () => {
      const path = tempSocketPath();
      const owner = await startServer({ path, accountId: 'first' });
      const realSetTimeout = setTimeout;
      jest
        .spyOn(globalThis, 'setTimeout')
        .mockImplementation(((callback: () => void, ms: number) =>
          realSetTimeout(callback, ms === 10_000 ? 20 : ms)) as typeof setTimeout);
      const { peer, answer } = await askByHand(path);
      expect(answer).toBe('TAKE_OVER_GRANTED');
      await peer.ended;
      jest.restoreAllMocks();
      peer.destroy();
      await until(() => owner.server.connectionCount === 0);
      await expectWatched(path, owner);
    });

    it('cannot take the path from a third server that stands there by then', async () => {
      const path = tempSocketPath();
      const owner = await startServer({ path, accountId: 'first' });
      const successor = await askingProgram(path);
      const third = createServer((socket) => socket.destroy());
      atEnd(() => new Promise((resolve) => third.close(resolve)));
      fs.unlinkSync(path);
      await new Promise<void>((resolve) => third.listen(path, resolve));
      const { ino } = fs.statSync(path);
      await expect(successor.command('place', { path })).rejects.toThrow('AddressInUseError');
      expect(fs.statSync(path).ino).toBe(ino);
      await successor.kill();
      await until(() => owner.server.connectionCount === 0);
      expect(fs.statSync(path).ino).toBe(ino);
    });
  });

  it('goes on when the owner dies instead of answering', async () => {
    const path = tempSocketPath();
    const owner = await startProgram<ServerProgram>('server', { path, takeOver: true });
    await owner.command('listen');
    owner.freeze();
    const { server } = newServer({ path, accountId: 'second' });
    const asked = new Promise((resolve) => {
      const { connect } = net;
      // The first one probes, the second one asks.
      let count = 0;
      jest.spyOn(net, 'connect').mockImplementation(((...args: [string]) => {
        if (++count === 2) resolve(undefined);
        return connect(...args);
      }) as typeof net.connect);
    });
    const listening = server.listen();
    await asked;
    jest.restoreAllMocks();
    await owner.kill();
    await listening;
    await expect(whoServes(path)).resolves.toBe('second');
  });

  it('takes a free path, or that of a dead server, without asking anybody', async () => {
    const path = tempSocketPath();
    const first = await startProgram<ServerProgram>('server', { path, takeOver: true });
    await first.command('listen');
    await first.kill();
    await startServer({ path, accountId: 'second' });
    await expect(whoServes(path)).resolves.toBe('second');
  });
});

async function askAgain(path: string): Promise<unknown> {
  const { peer, answer } = await askByHand(path);
  peer.destroy();
  return answer;
}
