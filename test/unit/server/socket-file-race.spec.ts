import fs from 'node:fs';
import { basename, dirname } from 'node:path';
import { HiddenNames, identify } from '../../../lib/server/socket-path.js';
import { atEnd } from '../../support/at-end.js';
import { ChildProgram } from '../../support/child-process.js';
import type * as claimer from '../../support/children/claimer.js';
import type * as clusterHolder from '../../support/children/cluster-holder.js';
import { PathHolder, whoAnswers } from '../../support/children/path-holder.js';
import { leaveDeadSocket } from '../../support/dead-socket.js';
import { tempSocketPath } from '../../support/temp-paths.js';
import { thoroughly } from '../../support/thoroughly.js';

type Claimer = ChildProgram<typeof claimer.commands>;

const ROUNDS = thoroughly(100, 12);
const STARTERS = ['a', 'b', 'c', 'd'];
/** Time for an order to reach every process. */
const HEAD_START_MS = 4;

async function startClaimer(name: string, shell = ''): Promise<Claimer> {
  const claimant: Claimer = await ChildProgram.start('claimer', { options: { name }, shell });
  atEnd(() => claimant.kill());
  return claimant;
}

function list(path: string): string[] {
  return fs.readdirSync(dirname(path));
}

/** All of them at the same moment. */
function claimTogether(starters: readonly Claimer[], path: string): Promise<claimer.ClaimResult[]> {
  const at = Date.now() + HEAD_START_MS;
  return Promise.all(starters.map((starter) => starter.command('claim', { path, at })));
}

describe('A race for a path', () => {
  it('over a dead socket has one winner, whom all others name', async () => {
    const starters = await Promise.all(STARTERS.map((name) => startClaimer(name)));
    const wins = new Map<string, number>();
    for (let round = 0; round < ROUNDS; round++) {
      const path = tempSocketPath();
      await leaveDeadSocket(path);
      const results = await claimTogether(starters, path);
      const winners = STARTERS.filter((_, n) => results[n]?.won);
      const [winner = ''] = winners;
      expect({ round, winners }).toEqual({ round, winners: [winner] });
      await expect(whoAnswers(path)).resolves.toBe(winner);
      for (const result of results) if (!result.won) expect(result.holder).toContain(`account "${winner}"`);
      await Promise.all(starters.map((starter) => starter.command('close')));
      expect(list(path)).toEqual([]);
      wins.set(winner, (wins.get(winner) ?? 0) + 1);
    }
    // It was a race, and not always the same one in front.
    expect(wins.size).toBeGreaterThan(1);
  });

  it('has one winner too when somebody occupies the lock, which only costs time', async () => {
    const starters = await Promise.all(STARTERS.map((name) => startClaimer(name)));
    const paths = Array.from({ length: thoroughly(25, 5) }, () => tempSocketPath());
    for (const path of paths) {
      await leaveDeadSocket(path);
      fs.writeFileSync(new HiddenNames(path).lock(identify(path)?.key ?? ''), '');
    }
    const at = Date.now() + HEAD_START_MS;
    const results = await Promise.all(starters.map((starter) => starter.command('claimEach', { paths, at })));
    for (const [n, path] of paths.entries()) {
      const winners = STARTERS.filter((_, starter) => results[starter]?.[n]?.won);
      expect({ n, winners }).toEqual({ n, winners: [expect.any(String)] });
      await expect(whoAnswers(path)).resolves.toBe(winners[0]);
    }
  });

  it('never displaces a live server', async () => {
    const path = tempSocketPath();
    const holder = new PathHolder('live');
    atEnd(() => holder.close());
    await holder.claim(path);
    const before = identify(path);
    const starters = await Promise.all(STARTERS.map((name) => startClaimer(name)));
    for (let round = 0; round < thoroughly(20, 5); round++) {
      const results = await claimTogether(starters, path);
      for (const result of results)
        expect(result).toEqual({ won: false, holder: expect.stringContaining('"live"') });
      expect(identify(path)).toEqual(before);
    }
    expect(list(path)).toHaveLength(2);
  });

  it('between a closing server and its successor leaves the successor its path', async () => {
    const path = tempSocketPath();
    let owner = await startClaimer('a');
    let next = await startClaimer('b');
    let attempts = 0;
    const rounds = thoroughly(60, 12);
    await owner.command('claim', { path });
    for (let round = 0; round < rounds; round++) {
      const claim = next.command('claimAtLast', { path });
      if (round % 2 === 0) await new Promise((resolve) => setTimeout(resolve, round % 5));
      await owner.command('close', { drainMs: round % 3 });
      attempts += await claim;
      await expect(whoAnswers(path)).resolves.toBe(round % 2 === 0 ? 'b' : 'a');
      expect(list(path)).toHaveLength(2);
      [owner, next] = [next, owner];
    }
    expect(attempts).toBeGreaterThan(rounds);
  });

  it('is won at once against a killed server, and what it left is gone', async () => {
    const path = tempSocketPath();
    const killed = await startClaimer('killed');
    await killed.command('claim', { path });
    await killed.kill();
    expect(list(path)).toHaveLength(2);
    await expect(whoAnswers(path)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    const next = await startClaimer('next');
    await expect(next.command('claim', { path })).resolves.toEqual({ won: true });
    expect(list(path)).toHaveLength(2);
    await next.command('close');
    expect(list(path)).toEqual([]);
  });

  it.each(['600', '660'])(
    'never shows a socket with another mode than %s or another group',
    async (octal) => {
      const mode = Number.parseInt(octal, 8);
      const path = tempSocketPath();
      // Only root may give a file to any group.
      const group = process.getuid?.() === 0 ? 54_321 : (process.getgid?.() ?? 0);
      const starter = await startClaimer('open', 'umask 0');
      const watcher = await startClaimer('watcher');
      const seen = watcher.command('watchModes', { directory: dirname(path) });
      for (let round = 0; round < thoroughly(100, 20); round++) {
        await starter.command('claim', { path, options: { mode, group } });
        await starter.command('close');
      }
      await watcher.command('stopWatching');
      await expect(seen).resolves.toEqual([`${octal} of ${group}`]);
    },
  );
});

describe.each(['rr', 'none'] as const)('The workers of a cluster (%s)', (policy) => {
  type Cluster = ChildProgram<typeof clusterHolder.commands>;
  let path: string;
  let workers: Cluster;

  beforeEach(async () => {
    path = tempSocketPath();
    workers = await ChildProgram.start('cluster-holder', { options: { path, policy } });
    atEnd(() => workers.kill());
  });

  /** Who answers, asked often enough to meet every one of a few workers. */
  async function answering(): Promise<Set<number>> {
    const names = await Promise.all(Array.from({ length: 24 }, () => whoAnswers(path)));
    return new Set(names.map(Number));
  }

  it('share a path, whoever of them comes and goes, and the last one out removes it', async () => {
    await leaveDeadSocket(path);
    const [first = 0, second = 0, third = 0] = await workers.command('start', { count: 3 });
    const members = new Set([first, second, third]);
    for (const pid of await answering()) expect(members).toContain(pid);

    await workers.command('close', { pids: [first] });
    members.delete(first);
    for (const pid of await answering()) expect(members).toContain(pid);

    await workers.command('kill', { pid: second });
    members.delete(second);
    await expect(answering()).resolves.toEqual(members);

    const [fourth = 0] = await workers.command('start', { count: 1 });
    members.add(fourth);
    for (const pid of await answering()) expect(members).toContain(pid);

    await workers.command('close', { pids: [third, fourth] });
    await gone(path);
  });

  it('are one holder for everybody else', async () => {
    await workers.command('start', { count: 2 });
    const stranger = new PathHolder('stranger');
    atEnd(() => stranger.close());
    await expect(stranger.claim(path)).rejects.toMatchObject({ code: 'ADDRESS_IN_USE' });
  });

  it('put a vanished path back', async () => {
    await workers.command('start', { count: 2 });
    fs.unlinkSync(path);
    while (!fs.existsSync(path)) await new Promise((resolve) => setTimeout(resolve, 5));
    await answering();
  });

  it('keep the path when the last one goes as the next one comes', async () => {
    let [old = 0] = await workers.command('start', { count: 1 });
    for (let round = 0; round < thoroughly(5, 2); round++) {
      const next = workers.command('start', { count: 1 });
      await new Promise((resolve) => setTimeout(resolve, 50 + 5 * round));
      await workers.command('close', { pids: [old] });
      [old = 0] = await next;
      await expect(answering()).resolves.toEqual(new Set([old]));
    }
  });
});

/** The primary removes the hidden name, a moment after its last worker has gone. */
async function gone(path: string): Promise<void> {
  expect(list(path)).not.toContain(basename(path));
  while (list(path).length > 0) await new Promise((resolve) => setTimeout(resolve, 5));
}
