import { spawn, spawnSync } from 'node:child_process';
import cluster from 'node:cluster';
import { once } from 'node:events';
import fs from 'node:fs';
import { connect, createServer } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { AddressInUseError, ListenError } from '../../../lib/errors/address.errors.js';
import { PathTooLongError } from '../../../lib/errors/option.errors.js';
import { MAX_PATH_BYTES } from '../../../lib/options/endpoint.js';
import { probePath } from '../../../lib/server/path-probe.js';
import { CELL_NAME, HiddenNames, identify } from '../../../lib/server/socket-path.js';
import { withLock } from '../../../lib/server/stale-socket.js';
import { atEnd } from '../../support/at-end.js';
import { PathHolder, whoAnswers, type HolderOptions } from '../../support/children/path-holder.js';
import { leaveDeadSocket } from '../../support/dead-socket.js';
import { tempDir, tempSocketPath } from '../../support/temp-paths.js';

const WATCH_MS = 10;

function newHolder(name: string, greets = true): PathHolder {
  const holder = new PathHolder(name, greets);
  atEnd(() => holder.close());
  return holder;
}

async function hold(path: string, name: string, options: HolderOptions = {}): Promise<PathHolder> {
  const holder = newHolder(name);
  await holder.claim(path, options);
  return holder;
}

/** A server of another kind at the path: it removes what is there, as many do. */
async function listenRudely(path: string): Promise<() => Promise<unknown>> {
  const server = createServer((socket) => socket.destroy());
  fs.rmSync(path, { force: true });
  server.listen(path);
  await once(server, 'listening');
  const close = (): Promise<unknown> => new Promise((resolve) => server.close(resolve));
  atEnd(close);
  return close;
}

function list(path: string): string[] {
  return fs.readdirSync(dirname(path)).toSorted();
}

function hiddenNames(path: string): string[] {
  return list(path).filter((name) => name.startsWith('.'));
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}

/** A process that is neither this one nor its parent. */
function runningPid(): number {
  const other = spawn('sleep', ['60']);
  atEnd(() => other.kill());
  return other.pid as number;
}

function isStopped(pid: number): boolean {
  return spawnSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' }).stdout.startsWith('T');
}

function refuseLink(): void {
  throw Object.assign(new Error('operation not permitted'), { code: 'EPERM' });
}

/** The id of a process that has ended. */
const deadPid = spawnSync(process.execPath, ['--version']).pid;

afterEach(() => jest.restoreAllMocks());

describe('SocketFile', () => {
  describe('claiming', () => {
    it('reaches the server by the path, with a hidden second name for the same file', async () => {
      const path = tempSocketPath();
      await hold(path, 'first');
      await expect(whoAnswers(path)).resolves.toBe('first');
      const [hidden = ''] = hiddenNames(path);
      expect(list(path)).toEqual([hidden, basename(path)]);
      expect(identify(join(dirname(path), hidden))).toEqual(identify(path));
    });

    it('sets mode and group', async () => {
      const path = tempSocketPath();
      // Only root may give a file to any group.
      const group = process.getuid?.() === 0 ? 54_321 : (process.getgid?.() ?? 0);
      await hold(path, 'first', { mode: 0o660, group });
      expect(fs.statSync(path).mode & 0o777).toBe(0o660);
      expect(fs.statSync(path).gid).toBe(group);
    });

    it('makes missing directories for this user alone and leaves others as they are', async () => {
      const dir = tempDir();
      fs.chmodSync(dir, 0o755);
      await hold(join(dir, 'a', 'b', 's.sock'), 'first');
      expect(fs.statSync(join(dir, 'a')).mode & 0o777).toBe(0o700);
      expect(fs.statSync(join(dir, 'a', 'b')).mode & 0o777).toBe(0o700);
      expect(fs.statSync(dir).mode & 0o777).toBe(0o755);
    });

    it('fails where no directory can be', async () => {
      const file = tempSocketPath();
      fs.writeFileSync(file, '');
      const claim = newHolder('first').claim(join(file, 's.sock'));
      await expect(claim).rejects.toThrow(ListenError);
    });

    it('leaves the process a mask, and a server that listens elsewhere, as they are', async () => {
      const mask = process.umask();
      const holder = await hold(tempSocketPath(), 'first');
      await expect(holder.claim(tempSocketPath())).rejects.toThrow(ListenError);
      expect(holder.server.listening).toBe(true);
      expect(holder.server.listenerCount('error')).toBe(0);
      expect(process.umask()).toBe(mask);
    });

    it('goes on with the path it was given when the process changes its directory', async () => {
      const path = tempSocketPath();
      const before = process.cwd();
      process.chdir(dirname(path));
      try {
        const holder = await hold(basename(path), 'first');
        process.chdir(before);
        await expect(holder.file?.look()).resolves.toBe('held');
        await holder.close();
      } finally {
        process.chdir(before);
      }
      expect(list(path)).toEqual([]);
    });

    it.each([
      ['as long as the platform takes', 'x'],
      ['of as many bytes in fewer characters', '\u{1f40d}'],
    ])('takes a path %s', async (_what, char) => {
      const dir = tempDir();
      const room = MAX_PATH_BYTES - Buffer.byteLength(dir) - 1;
      const name = char.repeat(Math.floor(room / Buffer.byteLength(char)));
      const path = join(dir, name.padEnd(name.length + (room - Buffer.byteLength(name)), 'x'));
      expect(Buffer.byteLength(path)).toBe(MAX_PATH_BYTES);
      await hold(path, 'first');
      await expect(whoAnswers(path)).resolves.toBe('first');
    });

    it('refuses a path that leaves no room for the hidden name, before anything is made', async () => {
      const dir = tempDir();
      // Its hidden name has too many bytes, but not too many characters.
      const deep = join(
        dir,
        '\u{1f40d}'.repeat(10),
        'd'.repeat(MAX_PATH_BYTES - Buffer.byteLength(dir) - 44),
      );
      const path = join(deep, 's');
      expect(Buffer.byteLength(path)).toBeLessThanOrEqual(MAX_PATH_BYTES);
      const error = await newHolder('first')
        .claim(path)
        .catch((cause: unknown) => cause);
      expect(error).toBeInstanceOf(PathTooLongError);
      expect(error).toMatchObject({ path, limitBytes: MAX_PATH_BYTES });
      expect((error as PathTooLongError).bytes).toBeGreaterThan(MAX_PATH_BYTES);
      expect(fs.readdirSync(dir)).toEqual([]);
    });
  });

  describe('finding somebody at the path', () => {
    it('leaves a live server alone and names it', async () => {
      const path = tempSocketPath();
      await hold(path, 'first');
      const before = list(path);
      const error = await newHolder('second')
        .claim(path)
        .catch((cause: unknown) => cause);
      expect(error).toBeInstanceOf(AddressInUseError);
      expect(error).toMatchObject({ endpoint: path, holder: expect.stringContaining('account "first"') });
      expect(list(path)).toEqual(before);
      await expect(whoAnswers(path)).resolves.toBe('first');
    });

    it('leaves a live server alone that does not greet', async () => {
      const path = tempSocketPath();
      await newHolder('mute', false).claim(path);
      const claim = newHolder('second').claim(path, { probeTimeoutMs: 20 });
      await expect(claim).rejects.toMatchObject({ holder: expect.stringContaining('does not greet') });
    });

    it('leaves a live server alone whose backlog is full', async () => {
      const path = tempSocketPath();
      // A stopped process accepts nothing.
      const script = `require('node:net').createServer().listen({ path: ${JSON.stringify(path)}, backlog: 1 },
        () => process.kill(process.pid, 'SIGSTOP'))`;
      const stopped = spawn(process.execPath, ['-e', script], { stdio: 'ignore' });
      atEnd(() => stopped.kill('SIGKILL'));
      await until(() => isStopped(stopped.pid as number));
      const waiting = [1, 2, 3, 4].map(() => connect(path).on('error', () => undefined));
      atEnd(() => waiting.forEach((socket) => socket.destroy()));
      await expect(newHolder('second').claim(path)).rejects.toMatchObject({
        holder: expect.stringContaining('too busy'),
      });
    });

    it('may be claimed with the same server elsewhere, or there later', async () => {
      const path = tempSocketPath();
      const first = await hold(path, 'first');
      const second = newHolder('second');
      await expect(second.claim(path)).rejects.toThrow(AddressInUseError);
      expect(second.server.listening).toBe(false);
      await first.close();
      await second.claim(path);
      await expect(whoAnswers(path)).resolves.toBe('second');
    });

    it('takes the path of a dead server', async () => {
      const path = tempSocketPath();
      await leaveDeadSocket(path);
      await hold(path, 'second');
      await expect(whoAnswers(path)).resolves.toBe('second');
      expect(list(path)).toHaveLength(2);
    });

    it('leaves a server alone that is about to listen', async () => {
      // Between bind() and listen() a socket refuses connections like a dead one.
      const path = tempSocketPath();
      const script = [
        'import socket, sys',
        's = socket.socket(socket.AF_UNIX)',
        's.bind(sys.argv[1])',
        'print("bound", flush=True)',
        'sys.stdin.readline()',
        's.listen()',
        'print("listening", flush=True)',
        'sys.stdin.readline()',
      ].join('\n');
      const starting = spawn('python3', ['-c', script, path], { stdio: ['pipe', 'pipe', 'inherit'] });
      atEnd(() => starting.kill('SIGKILL'));
      await once(starting.stdout, 'data');
      const realSetTimeout = setTimeout;
      // Whenever the claim waits for a moment, the server comes to listen in that moment.
      jest.spyOn(globalThis, 'setTimeout').mockImplementation(((callback: () => void, ms: number) => {
        if (ms !== 20) return realSetTimeout(callback, ms);
        starting.stdin.write('\n');
        return starting.stdout.once('data', callback);
      }) as typeof setTimeout);
      const before = identify(path);
      await expect(newHolder('second').claim(path, { probeTimeoutMs: 50 })).rejects.toThrow(
        AddressInUseError,
      );
      expect(identify(path)).toEqual(before);
    });

    it.each(['a file', 'a socket that is stopped'])(
      'takes a path although %s occupies the lock',
      async (what) => {
        const path = tempSocketPath();
        await leaveDeadSocket(path);
        const lock = new HiddenNames(path).lock(identify(path)?.key ?? '');
        if (what === 'a file') fs.writeFileSync(lock, '');
        else await listenRudely(lock);
        const { now } = performance;
        // Patience takes two seconds.
        let ahead = 0;
        jest.spyOn(performance, 'now').mockImplementation(() => now.call(performance) + (ahead += 100));
        await hold(path, 'second');
        await expect(whoAnswers(path)).resolves.toBe('second');
        expect(fs.existsSync(lock)).toBe(true);
      },
    );

    it('takes a path although a process was killed while it took it', async () => {
      const path = tempSocketPath();
      await leaveDeadSocket(path);
      const dead = `${path}.dead`;
      await leaveDeadSocket(dead);
      const lock = new HiddenNames(path).lock(identify(path)?.key ?? '');
      const link = jest.fn(fs.linkSync).mockImplementationOnce((existing, name) => {
        fs.renameSync(dead, lock);
        fs.linkSync(existing, name);
      });
      await hold(path, 'second', { link });
      await expect(whoAnswers(path)).resolves.toBe('second');
      expect(list(path)).toHaveLength(2);
    });

    const KINDS: [string, (path: string) => unknown][] = [
      ['a regular file', (path) => fs.writeFileSync(path, 'mine')],
      ['a directory', (path) => fs.mkdirSync(path)],
      ['a symbolic link', (path) => fs.symlinkSync('nowhere', path)],
      ['a special file', (path) => spawnSync('mkfifo', [path])],
    ];

    it.each(KINDS)('does not touch %s', async (kind, make) => {
      const path = tempSocketPath();
      make(path);
      const before = identify(path);
      for (const isPermitted of [false, true]) {
        const claim = newHolder('first').claim(path, { mayReplace: () => isPermitted });
        await expect(claim).rejects.toThrow(AddressInUseError);
        await expect(claim).rejects.toMatchObject({ holder: expect.stringContaining(kind) });
      }
      expect(identify(path)).toEqual(before);
      expect(list(path)).toEqual([basename(path)]);
    });

    it('does not follow a symbolic link, not even to a dead socket', async () => {
      const path = tempSocketPath();
      const target = `${path}.target`;
      await leaveDeadSocket(target);
      fs.symlinkSync(target, path);
      const before = identify(target);
      await expect(newHolder('first').claim(path)).rejects.toThrow(AddressInUseError);
      expect(identify(target)).toEqual(before);
      expect(fs.readlinkSync(path)).toBe(target);
    });

    it('is not deceived when the process was busy for longer than the probe may take', async () => {
      // The timer was found to be over before the refusal was read, and a dead server passed for a live one.
      const path = tempSocketPath();
      await leaveDeadSocket(path);
      const found = await new Promise((resolve) => {
        // From here the loop comes to the timers first.
        fs.stat(path, () => {
          void probePath(path, 10).then(resolve);
          const end = performance.now() + 50;
          while (performance.now() < end);
        });
      });
      expect(found).toEqual({ state: 'stale' });
    });
  });

  describe('what killed processes left', () => {
    it('is swept', async () => {
      const path = tempSocketPath();
      const names = new HiddenNames(path);
      // In a container each start has the same process id.
      for (const left of [names.make(deadPid), names.make(), names.lock('x')]) await leaveDeadSocket(left);
      await hold(path, 'first');
      expect(list(path)).toHaveLength(2);
    });

    it('is swept where a socket was being made, if that is long past', async () => {
      const path = tempSocketPath();
      const names = new HiddenNames(path);
      const [old, empty, young] = [names.make(deadPid), names.make(deadPid), names.make(deadPid)];
      for (const cell of [old, empty, young]) fs.mkdirSync(cell);
      await leaveDeadSocket(join(old, CELL_NAME));
      for (const cell of [old, empty]) fs.utimesSync(cell, 0, 0);
      await hold(path, 'first');
      expect(list(path)).toHaveLength(3);
      expect(list(path)).toContain(basename(young));
    });

    it('stays if it is not left, not dead, not a socket, or beside another path', async () => {
      const path = tempSocketPath();
      const names = new HiddenNames(path);
      const others = new HiddenNames(`${path}.other`);
      const ofRunning = names.make(runningPid());
      await leaveDeadSocket(ofRunning);
      const alive = names.make(deadPid);
      await listenRudely(alive);
      const file = names.make(deadPid);
      fs.writeFileSync(file, '');
      const beside = others.make(deadPid);
      await leaveDeadSocket(beside);
      const kept = [ofRunning, alive, file, beside].map((name) => basename(name));
      await hold(path, 'first');
      expect(list(path)).toEqual(expect.arrayContaining(kept));
    });
  });

  describe('watching the path', () => {
    it('puts a vanished path back and says so', async () => {
      const path = tempSocketPath();
      const holder = await hold(path, 'first', { watchIntervalMs: WATCH_MS });
      const before = identify(path);
      fs.unlinkSync(path);
      await until(() => holder.reports.length === 2);
      expect(holder.reports).toEqual(['lost', 'restored']);
      expect(identify(path)).toEqual(before);
      await expect(whoAnswers(path)).resolves.toBe('first');
    });

    it('says once that it is lost, and at every look that only a new socket can help', async () => {
      const path = join(tempDir(), 'd', 's.sock');
      const holder = await hold(path, 'first');
      fs.rmSync(dirname(path), { recursive: true });
      await expect(holder.file?.look()).resolves.toBe('lost');
      await expect(holder.file?.look()).resolves.toBe('lost');
      expect(holder.reports).toEqual(['lost', 'unrestorable', 'unrestorable']);
      await holder.close();
    });

    it('does not touch a server that replaced it, not even when closing, and comes back after it', async () => {
      const path = tempSocketPath();
      const holder = await hold(path, 'first', { watchIntervalMs: WATCH_MS });
      const closeOther = await listenRudely(path);
      const other = identify(path);
      await until(() => holder.reports.length > 0);
      expect(holder.reports).toEqual(['replaced']);
      expect(identify(path)).toEqual(other);
      await closeOther();
      await until(() => holder.reports.length > 1);
      expect(holder.reports).toEqual(['replaced', 'lost', 'restored']);
      await listenRudely(path);
      const another = identify(path);
      await holder.close();
      expect(identify(path)).toEqual(another);
      expect(hiddenNames(path)).toEqual([]);
    });

    it('comes back when the server that replaced it has died', async () => {
      const path = tempSocketPath();
      const holder = await hold(path, 'first');
      await leaveDeadSocket(path);
      await expect(holder.file?.look()).resolves.toBe('held');
      expect(holder.reports).toEqual(['replaced', 'lost', 'restored']);
      await expect(whoAnswers(path)).resolves.toBe('first');
      expect(list(path)).toHaveLength(2);
    });

    it.each(['a regular file', 'a directory'])('does not touch %s that replaced it', async (what) => {
      const path = tempSocketPath();
      const holder = await hold(path, 'first');
      fs.unlinkSync(path);
      if (what === 'a directory') fs.mkdirSync(path);
      else fs.writeFileSync(path, 'mine');
      const before = identify(path);
      await expect(holder.file?.look()).resolves.toBe('replaced');
      await holder.close();
      expect(identify(path)).toEqual(before);
      expect(list(path)).toEqual([basename(path)]);
    });

    it('puts the hidden name back', async () => {
      const path = tempSocketPath();
      const holder = await hold(path, 'first');
      for (const name of hiddenNames(path)) fs.unlinkSync(join(dirname(path), name));
      await holder.file?.look();
      fs.unlinkSync(path);
      await expect(holder.file?.look()).resolves.toBe('held');
      await expect(whoAnswers(path)).resolves.toBe('first');
    });

    it('keeps the file young, for cleaners that go by age', async () => {
      const path = tempSocketPath();
      const holder = await hold(path, 'first');
      fs.utimesSync(path, 0, 0);
      await holder.file?.look();
      expect(fs.statSync(path).mtimeMs).toBe(0);
      const twoHoursOn = performance.now() + 7_200_000;
      jest.spyOn(performance, 'now').mockReturnValue(twoHoursOn);
      await holder.file?.look();
      expect(fs.statSync(path).mtimeMs).toBeGreaterThan(Date.now() - 60_000);
    });

    it('leaves the path alone while it is paused', async () => {
      const path = tempSocketPath();
      const holder = await hold(path, 'first', { watchIntervalMs: WATCH_MS });
      holder.file?.pauseWatch();
      fs.unlinkSync(path);
      await new Promise((resolve) => setTimeout(resolve, 5 * WATCH_MS));
      expect(fs.existsSync(path)).toBe(false);
      await expect(holder.file?.look()).resolves.toBe('held');
      fs.unlinkSync(path);
      await until(() => fs.existsSync(path));
    });
  });

  describe('giving the path up', () => {
    it('removes the path first, still accepting, and leaves nothing', async () => {
      const path = tempSocketPath();
      const holder = await hold(path, 'first');
      await holder.file?.release();
      expect(fs.existsSync(path)).toBe(false);
      const [hidden = ''] = hiddenNames(path);
      await expect(whoAnswers(join(dirname(path), hidden))).resolves.toBe('first');
      await holder.close();
      expect(list(path)).toEqual([]);
    });

    it('may be done twice, and without the first half', async () => {
      const path = tempSocketPath();
      const holder = await hold(path, 'first');
      const file = holder.file;
      holder.server.close();
      await file?.dispose();
      await file?.dispose();
      await file?.release();
      expect(list(path)).toEqual([]);
      await expect(file?.look()).resolves.toBe('released');
    });

    it('leaves no hidden name that the watchdog put back after the server had closed', async () => {
      const path = tempSocketPath();
      const holder = await hold(path, 'first');
      holder.server.close();
      await holder.file?.look();
      await holder.file?.dispose();
      expect(list(path)).toEqual([]);
    });

    it('is not undone by a look that comes at the same time', async () => {
      // The look found the path gone, because it had just been released, and put it back.
      const path = tempSocketPath();
      const holder = await hold(path, 'first');
      await Promise.all([holder.file?.look(), holder.file?.release(), holder.file?.look()]);
      expect(fs.existsSync(path)).toBe(false);
    });

    it('is not undone by whoever hears that the path vanished and closes', async () => {
      const path = tempSocketPath();
      const holder = await hold(path, 'first');
      const file = holder.file;
      jest.spyOn(holder.reports, 'push').mockImplementation(() => {
        void file?.release();
        return 0;
      });
      fs.unlinkSync(path);
      await expect(file?.look()).resolves.toBe('released');
      expect(fs.existsSync(path)).toBe(false);
    });

    it.each([
      ['', undefined],
      [' where there are no hard links', refuseLink],
    ])('gives back what came between looking and moving%s', async (_where, link) => {
      const path = tempSocketPath();
      const holder = await hold(path, 'first', link === undefined ? {} : { link });
      const besides = `${path}.other`;
      await listenRudely(besides);
      const other = identify(besides);
      const { renameSync } = fs;
      jest.spyOn(fs, 'renameSync').mockImplementationOnce((from, to) => {
        renameSync(besides, path);
        renameSync(from, to);
      });
      await holder.close();
      expect(identify(path)).toEqual(other);
      expect(list(path)).toEqual([basename(path)]);
    });
  });

  describe('taking over', () => {
    it('replaces a live server without a moment in which there is none', async () => {
      const path = tempSocketPath();
      const first = await hold(path, 'first', { watchIntervalMs: WATCH_MS });
      first.file?.pauseWatch();
      const second = newHolder('second');
      const renames = jest.spyOn(fs, 'renameSync');
      const unlinks = jest.spyOn(fs, 'unlinkSync');
      await second.claim(path, { mayReplace: () => true });
      expect(renames.mock.calls.filter(([from, to]) => from === path || to === path)).toHaveLength(1);
      expect(unlinks.mock.calls.map(([name]) => name)).not.toContain(path);
      await expect(first.file?.look()).resolves.toBe('replaced');
      await expect(whoAnswers(path)).resolves.toBe('second');
      await first.close();
      await expect(second.file?.look()).resolves.toBe('held');
      expect(list(path)).toHaveLength(2);
    });

    it('replaces nobody but whose consent it has', async () => {
      const path = tempSocketPath();
      await hold(path, 'first');
      const asked = identify(path)?.key;
      await listenRudely(path);
      const third = identify(path);
      const mayReplace = jest.fn((key: string) => key === asked);
      await expect(newHolder('second').claim(path, { mayReplace })).rejects.toThrow(AddressInUseError);
      expect(mayReplace.mock.calls).toEqual([[third?.key]]);
      expect(identify(path)).toEqual(third);
    });

    it('claims a free path too', async () => {
      const path = tempSocketPath();
      await hold(path, 'second', { mayReplace: () => true });
      await expect(whoAnswers(path)).resolves.toBe('second');
      expect(list(path)).toHaveLength(2);
    });
  });

  // With real workers: socket-file-race.spec.ts. This process only takes itself for one.
  describe('in a cluster worker', () => {
    const socketNames = (path: string): string[] => list(path).map((name) => join(dirname(path), name));

    beforeEach(() => {
      jest.replaceProperty(cluster, 'isWorker', true);
    });

    it('leaves the path to workers that are still there', async () => {
      const path = tempSocketPath();
      const holder = await hold(path, 'first');
      fs.linkSync(path, new HiddenNames(path).make(runningPid()));
      const renames = jest.spyOn(fs, 'renameSync');
      await holder.file?.release();
      expect(renames).not.toHaveBeenCalled();
      await expect(whoAnswers(path)).resolves.toBe('first');
    });

    it('puts the path back for a worker that came while it was removed', async () => {
      const path = tempSocketPath();
      const holder = await hold(path, 'first');
      const { renameSync } = fs;
      jest.spyOn(fs, 'renameSync').mockImplementationOnce((from, to) => {
        fs.linkSync(path, new HiddenNames(path).make(runningPid()));
        renameSync(from, to);
      });
      await holder.file?.release();
      await expect(whoAnswers(path)).resolves.toBe('first');
    });

    it('counts killed workers out and removes what they left', async () => {
      const path = tempSocketPath();
      const holder = await hold(path, 'first');
      fs.linkSync(path, new HiddenNames(path).make(deadPid));
      await holder.file?.release();
      expect(socketNames(path)).toEqual([holder.server.address()]);
    });

    it('says so when there are no hard links', async () => {
      const holder = newHolder('first');
      await expect(holder.claim(tempSocketPath(), { link: refuseLink })).rejects.toThrow(ListenError);
      expect(holder.server.listening).toBe(false);
    });
  });

  describe('without hard links', () => {
    it('claims, holds and gives up a path all the same', async () => {
      const path = tempSocketPath();
      await leaveDeadSocket(path);
      const holder = await hold(path, 'first', { link: refuseLink });
      await expect(whoAnswers(path)).resolves.toBe('first');
      expect(list(path)).toEqual([basename(path)]);
      expect(fs.statSync(path).mode & 0o777).toBe(0o600);
      await expect(holder.file?.look()).resolves.toBe('held');
      await holder.close();
      expect(list(path)).toEqual([]);
    });

    it('lets one of many win a dead path', async () => {
      const path = tempSocketPath();
      await leaveDeadSocket(path);
      const claims = ['a', 'b', 'c', 'd'].map((name) => newHolder(name).claim(path, { link: refuseLink }));
      const results = await Promise.allSettled(claims);
      expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      for (const result of results)
        if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(AddressInUseError);
      expect(list(path)).toEqual([basename(path)]);
    });

    it('waits while another process looks at the path and moves its socket there', async () => {
      const path = tempSocketPath();
      const names = new HiddenNames(path);
      let end: () => void = () => undefined;
      const other = withLock(names, names.lock('place'), () => new Promise<void>((done) => (end = done)));
      const claim = hold(path, 'first', { link: refuseLink });
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(fs.existsSync(path)).toBe(false);
      end();
      await other;
      await claim;
      await expect(whoAnswers(path)).resolves.toBe('first');
    });

    it('leaves others alone, and is taken over only by permission', async () => {
      const path = tempSocketPath();
      const first = await hold(path, 'first', { link: refuseLink });
      await expect(newHolder('second').claim(path, { link: refuseLink })).rejects.toThrow(AddressInUseError);
      await hold(path, 'third', { link: refuseLink, mayReplace: () => true });
      await expect(first.file?.look()).resolves.toBe('replaced');
      await first.close();
      await expect(whoAnswers(path)).resolves.toBe('third');
    });

    it('says that a vanished path stays lost', async () => {
      const path = tempSocketPath();
      const holder = await hold(path, 'first', { link: refuseLink });
      fs.unlinkSync(path);
      await expect(holder.file?.look()).resolves.toBe('lost');
      expect(holder.reports).toEqual(['lost', 'unrestorable']);
    });
  });
});
