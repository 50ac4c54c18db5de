import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join, resolve } from 'node:path';
import { knownRules } from '../../lib/cli/conformance/run.js';
import type { Level, Role } from '../../lib/cli/conformance/verdict.js';
import { runCli } from '../../lib/cli/run-cli.js';
import { atEnd } from '../support/at-end.js';
import { RawPeer } from '../support/frames.js';
import { findPython } from '../support/python-process.js';
import { tempSocketPath } from '../support/temp-paths.js';
import { until } from '../support/until.js';

const python = findPython();
const ROOT = resolve(__dirname, '../..');

interface Judgement {
  readonly passed: number;
  readonly verdicts: readonly { readonly status: string }[];
}

function startPeer(program: string, args: readonly string[]): ChildProcess {
  const child = spawn(python as string, ['-B', join(ROOT, program), ...args], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const ended = once(child, 'exit');
  atEnd(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return child;
}

function isListening(path: string): Promise<boolean> {
  return RawPeer.connect({ path }).then(
    (peer) => {
      peer.destroy();
      return true;
    },
    () => false,
  );
}

async function judge(role: Role, level: Level, path: string): Promise<Judgement> {
  const lines: string[] = [];
  await runCli(['conformance', path, '--role', role, '--level', level, '--timeout-ms', '5000', '--json'], {
    print: (line) => lines.push(line),
    complain: (line) => lines.push(line),
    signal: new AbortController().signal,
  });
  return JSON.parse(lines.join('\n')) as Judgement;
}

function broken({ verdicts }: Judgement): unknown[] {
  return verdicts.filter(({ status }) => status !== 'passed');
}

function countRules(role: Role, judged: Level): number {
  return knownRules(role).filter(({ level }) => level === judged || (judged === 'full' && level === 'v2'))
    .length;
}

const SAMPLE = { name: 'the peer of the sample', program: 'sample/02-python-peer/conformance.py' };
const PACKAGE = { name: 'the Python package', program: 'python/tests/conformance.py' };
const PEERS: readonly { name: string; program: string; level: Level }[] = [
  { ...SAMPLE, level: 'v2' },
  { ...PACKAGE, level: 'full' },
  { ...PACKAGE, level: 'v1' },
];

(python === undefined ? describe.skip : describe).each(PEERS)('$name', ({ program, level }) => {
  it(`keeps every rule of level ${level} as a server`, async () => {
    const path = tempSocketPath();
    startPeer(program, ['server', path]);
    await until(() => isListening(path), 10_000);
    const judgement = await judge('server', level, path);
    expect(broken(judgement)).toEqual([]);
    expect(judgement.passed).toBe(countRules('server', level));
  });

  it(`keeps every rule of level ${level} as a client`, async () => {
    const path = tempSocketPath();
    const judging = judge('client', level, path);
    const child = startPeer(program, ['client', path, ...(level === 'v1' ? [level] : [])]);
    const judgement = await judging;
    expect(broken(judgement)).toEqual([]);
    expect(judgement.passed).toBe(countRules('client', level));
    // Told that all is done, it has nothing left to do.
    if (child.exitCode === null) await once(child, 'exit');
    expect(child.exitCode).toBe(0);
  });
});
