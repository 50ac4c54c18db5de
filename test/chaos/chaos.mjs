// Real servers are killed, stopped, drained and taken over at random, under load from real clients through a proxy
// that injects faults; then every call is judged. Usage: node chaos.mjs [--rounds 30] [--calls 10000] [--seed N]
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { FaultProxy } from '../../dist/testing/index.js';
import { random } from './random.mjs';

const { values } = parseArgs({
  options: { rounds: { type: 'string' }, calls: { type: 'string' }, seed: { type: 'string' } },
});
const rounds = Number(values.rounds ?? 30);
const wantedCalls = Number(values.calls ?? 10_000);
const seed = Number(values.seed ?? Date.now() % 1_000_000);
const chance = random(seed);
const CLIENTS = 3;
const ROUND_LIMIT_MS = 4_000;
const HEAP_GROWTH_LIMIT_BYTES = 24 * 1024 * 1024;

const here = (file) => fileURLToPath(new URL(file, import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'chaos-'));
const path = join(directory, 'server.sock');
const ledgerPath = join(directory, 'ledger');
writeFileSync(ledgerPath, '');

const children = new Set();
const problems = [];
const did = {};

function start(file, ...args) {
  const child = fork(here(file), args, {
    execArgv: ['--expose-gc'],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  children.add(child);
  child.once('exit', () => children.delete(child));
  child.on('message', ({ event, reason }) => {
    if (event === 'unhandled') problems.push(`unhandled rejection in ${file}: ${reason}`);
  });
  return child;
}

function heard(child, event) {
  return new Promise((resolve, reject) => {
    const onMessage = (message) => {
      if (message.event !== event && message.event !== 'failed') return;
      child.off('message', onMessage);
      if (message.event === event) resolve(message);
      else reject(new Error(message.reason));
    };
    child.on('message', onMessage);
    child.once('exit', () => reject(new Error(`a process ended before it said ${event}`)));
  });
}

async function startServer() {
  const child = start('./server.mjs', path, ledgerPath);
  await heard(child, 'listening');
  return child;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const between = (from, to) => from + Math.floor(chance() * (to - from));
const gone = (child) => (children.has(child) ? once(child, 'exit') : undefined);

let server = await startServer();
const proxy = await FaultProxy.listen({
  listen: { path: join(directory, 'proxy.sock') },
  target: { path },
  seed,
});
const clients = Array.from({ length: CLIENTS }, (_, index) => {
  // The last one goes to the server directly.
  const to = index === CLIENTS - 1 ? path : proxy.endpoint.path;
  return { child: start('./client.mjs', to, `c${index}`, String(seed + index)), answered: 0 };
});
for (const client of clients) {
  client.child.on('message', (message) => {
    if (message.event === 'progress') client.answered = message.answered;
  });
}
const answered = () => clients.reduce((sum, client) => sum + client.answered, 0);

const ACTIONS = {
  async kill() {
    const old = server;
    old.kill('SIGKILL');
    await gone(old);
    await pause(between(0, 150));
    server = await startServer();
  },
  async restart() {
    const old = server;
    old.kill('SIGTERM');
    // A successor that comes while the old one still has its path is turned away; it comes when that is given up.
    await gone(old);
    server = await startServer();
  },
  async takeOver() {
    const old = server;
    server = await startServer();
    await gone(old);
  },
  async stop() {
    server.kill('SIGSTOP');
    await pause(between(50, 600));
    server.kill('SIGCONT');
  },
  async stopForLong() {
    server.kill('SIGSTOP');
    await pause(2_700);
    server.kill('SIGCONT');
  },
  async reset() {
    proxy.reset();
  },
  async stall() {
    proxy.stall();
    await pause(between(50, 500));
    proxy.resume();
  },
  async split() {
    proxy.split(between(1, 40));
    await pause(between(100, 300));
    proxy.clear();
  },
  async delay() {
    proxy.delay({ ms: between(1, 10), jitterMs: 5 });
    await pause(between(100, 300));
    proxy.clear();
  },
  async truncate() {
    proxy.truncate(between(0, 5_000), chance() < 0.5 ? 'toServer' : 'toClient');
    await pause(100);
    proxy.clear();
  },
  async refuse() {
    proxy.refuse();
    proxy.reset();
    await pause(between(50, 300));
    proxy.accept();
  },
};
const names = Object.keys(ACTIONS);

function hear(client) {
  client.child.send('resources');
  return heard(client.child, 'resources');
}

console.log(`chaos: seed ${seed}, ${rounds} rounds, at least ${wantedCalls} calls, ${CLIENTS} clients`);
const startedAt = performance.now();
let before;
try {
  for (let round = 1; round <= rounds; round++) {
    // stopForLong takes seconds, so it is rare.
    let name = names[between(0, names.length)];
    if (name === 'stopForLong' && chance() < 0.8) name = 'stop';
    did[name] = (did[name] ?? 0) + 1;
    await ACTIONS[name]();
    const goal = (wantedCalls * round) / rounds;
    for (const end = performance.now() + ROUND_LIMIT_MS; answered() < goal && performance.now() < end;)
      await pause(20);
    if (round === Math.ceil(rounds / 4)) before = await Promise.all(clients.map(hear));
  }
  while (answered() < wantedCalls && performance.now() - startedAt < 600_000) await pause(50);
  const after = await Promise.all(clients.map(hear));
  const verdicts = await Promise.all(
    clients.map((client) => {
      const verdict = heard(client.child, 'verdicts');
      client.child.send('stop');
      return verdict;
    }),
  );
  for (const { child } of clients) child.disconnect();
  server.kill('SIGTERM');
  await gone(server);
  await proxy.close();
  judge(verdicts, after);
} catch (error) {
  problems.push(String(error?.stack ?? error));
} finally {
  for (const child of children) child.kill('SIGKILL');
  await proxy.close();
  rmSync(directory, { recursive: true, force: true });
}

function judge(verdicts, after) {
  const total = (key) => verdicts.reduce((sum, verdict) => sum + verdict[key], 0);
  const all = (key) => verdicts.flatMap((verdict) => verdict[key]);
  const failed = {};
  for (const verdict of verdicts) {
    for (const [kind, count] of Object.entries(verdict.failed)) failed[kind] = (failed[kind] ?? 0) + count;
  }
  const failures = Object.values(failed).reduce((sum, count) => sum + count, 0);

  const runs = new Map();
  for (const id of readFileSync(ledgerPath, 'utf8').split('\n'))
    if (id !== '') runs.set(id, (runs.get(id) ?? 0) + 1);
  const idempotentRepeats = [...runs.values()].filter((count) => count > 1).length;

  const expect = (count, what, examples = []) => {
    if (count > 0)
      problems.push(
        `${count} ${what}${examples.length > 0 ? `, such as ${examples.slice(0, 3).join('; ')}` : ''}`,
      );
  };
  expect(all('hung').length, 'calls hang', all('hung'));
  expect(
    total('started') - total('answered') - failures - total('wrong') - all('untyped').length,
    'calls without a verdict',
  );
  expect(all('untyped').length, 'failures without a delivery', all('untyped'));
  expect(total('wrong'), 'wrong answers');
  expect(all('lostIdempotent').length, 'idempotent calls lost', all('lostIdempotent'));
  const ranAnyway = all('notSent').filter((id) => runs.has(id));
  expect(ranAnyway.length, 'calls said not to have been sent, and ran', ranAnyway);
  const onceTwice = [...runs].filter(([id, count]) => count > 1 && id.includes('-once-')).map(([id]) => id);
  expect(onceTwice.length, 'calls ran twice that must not', onceTwice);
  if (total('answered') < wantedCalls)
    problems.push(`only ${total('answered')} of ${wantedCalls} calls were answered`);
  const left = readdirSync(directory).filter((name) => name !== 'ledger');
  expect(left.length, 'files left behind', left);
  after.forEach(({ heapBytes, timers }, index) => {
    const growth = heapBytes - (before?.[index]?.heapBytes ?? heapBytes);
    if (growth > HEAP_GROWTH_LIMIT_BYTES)
      problems.push(`the heap of client ${index} grew by ${growth} bytes`);
    if (timers > 50) problems.push(`client ${index} has ${timers} timers`);
  });

  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(0);
  console.log(`did      ${JSON.stringify(did)}`);
  console.log(
    `calls    ${total('started')} made, ${total('answered')} answered, ${failures} failed, in ${seconds} s`,
  );
  console.log(`failed   ${JSON.stringify(failed)}`);
  console.log(
    `repeated ${total('repeated')}, of which ${idempotentRepeats} ran twice; ${total('reconnects')} reconnects`,
  );
}

for (const problem of problems) console.error(`PROBLEM  ${problem}`);
console.log(
  problems.length === 0
    ? `chaos: all is well (seed ${seed})`
    : `chaos: ${problems.length} problems (seed ${seed})`,
);
process.exitCode = problems.length === 0 ? 0 : 1;
