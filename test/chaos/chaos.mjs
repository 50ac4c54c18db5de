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
const ROUND_LIMIT_MS = 4_000;
const HEAP_GROWTH_LIMIT_BYTES = 24 * 1024 * 1024;
const MOST_TIMERS = 50;

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
  child.once('exit', (code) => {
    children.delete(child);
    // Killed ones have none.
    if (code !== 0 && code !== null) problems.push(`${file} ended by itself with code ${code}`);
  });
  child.on('message', ({ event, reason }) => {
    if (event === 'unhandled') problems.push(`unhandled in ${file}: ${reason}`);
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
  const child = start('./server.mjs', path, ledgerPath, chance() < 0.5 ? 'remembers' : 'forgets');
  await heard(child, 'listening');
  return child;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const between = (from, to) => from + Math.floor(chance() * (to - from));
const gone = (child) => (children.has(child) ? once(child, 'exit') : undefined);

let server = await startServer();
const proxies = await Promise.all(
  [{ path: join(directory, 'proxy.sock') }, { port: 0 }].map((listen) =>
    FaultProxy.listen({ listen, target: { path }, seed }),
  ),
);
const [unixProxy, tcpProxy] = proxies;
const clients = [
  { endpoint: { path }, name: 'direct' },
  { endpoint: unixProxy.endpoint, name: 'unix' },
  { endpoint: tcpProxy.endpoint, name: 'tcp' },
  { endpoint: unixProxy.endpoint, name: 'impatient', isImpatient: true },
].map((kind, index) => ({
  child: start('./client.mjs', JSON.stringify({ ...kind, seed: seed + index })),
  answered: 0,
}));
for (const client of clients) {
  client.child.on('message', (message) => {
    if (message.event === 'progress') client.answered = message.answered;
  });
}
/** The same fault on every way that has one. */
const onProxies = (fault) => proxies.forEach(fault);
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
    // Calls that are at work when they are cut off, and come again to the same server while they still are.
    for (let times = between(1, 8); times > 0; times--) {
      onProxies((proxy) => proxy.reset());
      await pause(between(5, 60));
    }
  },
  async stall() {
    onProxies((proxy) => proxy.stall());
    await pause(between(50, 500));
    onProxies((proxy) => proxy.resume());
  },
  async split() {
    const bytes = between(1, 40);
    onProxies((proxy) => proxy.split(bytes));
    await pause(between(100, 300));
    onProxies((proxy) => proxy.clear());
  },
  async delay() {
    const ms = between(1, 10);
    onProxies((proxy) => proxy.delay({ ms, jitterMs: 5 }));
    await pause(between(100, 300));
    onProxies((proxy) => proxy.clear());
  },
  async truncate() {
    const afterBytes = between(0, 5_000);
    const way = chance() < 0.5 ? 'toServer' : 'toClient';
    onProxies((proxy) => proxy.truncate(afterBytes, way));
    await pause(100);
    onProxies((proxy) => proxy.clear());
  },
  async blackhole() {
    onProxies((proxy) => proxy.blackhole());
    await pause(between(50, 300));
    // What was swallowed is missing now; only a new connection helps.
    onProxies((proxy) => proxy.reset());
    onProxies((proxy) => proxy.clear());
  },
  async refuse() {
    onProxies((proxy) => proxy.refuse());
    onProxies((proxy) => proxy.reset());
    await pause(between(50, 300));
    onProxies((proxy) => proxy.accept());
  },
};
const names = Object.keys(ACTIONS);

function hear(child) {
  child.send('resources');
  return heard(child, 'resources');
}

console.log(
  `chaos: seed ${seed}, ${rounds} rounds, at least ${wantedCalls} calls, ${clients.length} clients`,
);
const startedAt = performance.now();
let before;
try {
  for (let round = 1; round <= rounds; round++) {
    // stopForLong takes seconds, so it is rare.
    let name = names[between(0, names.length)];
    if (name === 'stopForLong' && chance() < 0.8) name = 'stop';
    did[name] = (did[name] ?? 0) + 1;
    await ACTIONS[name]();
    // The calls of a round are soon made; numbered pushes need a while to come.
    await pause(between(100, 400));
    const goal = (wantedCalls * round) / rounds;
    for (const end = performance.now() + ROUND_LIMIT_MS; answered() < goal && performance.now() < end;)
      await pause(20);
    if (round === Math.ceil(rounds / 4)) before = await Promise.all(clients.map(({ child }) => hear(child)));
  }
  while (answered() < wantedCalls && performance.now() - startedAt < 600_000) await pause(50);
  const after = await Promise.all(clients.map(({ child }) => hear(child)));
  const atServer = await hear(server);
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
  await Promise.all(proxies.map((proxy) => proxy.close()));
  judge(verdicts, after, atServer);
} catch (error) {
  problems.push(String(error?.stack ?? error));
} finally {
  for (const child of children) child.kill('SIGKILL');
  await Promise.all(proxies.map((proxy) => proxy.close()));
  rmSync(directory, { recursive: true, force: true });
}

function judge(verdicts, after, atServer) {
  const total = (key) => verdicts.reduce((sum, verdict) => sum + verdict[key], 0);
  const all = (key) => verdicts.flatMap((verdict) => verdict[key]);
  const failed = {};
  for (const verdict of verdicts) {
    for (const [kind, count] of Object.entries(verdict.failed)) failed[kind] = (failed[kind] ?? 0) + count;
  }
  const failures = Object.values(failed).reduce((sum, count) => sum + count, 0);

  const runs = new Map();
  const remembered = new Set();
  const ranForOne = [];
  for (const line of readFileSync(ledgerPath, 'utf8').split('\n')) {
    if (line === '') continue;
    const [id, , remembers] = line.split(' ');
    runs.set(id, (runs.get(id) ?? 0) + 1);
    if (remembers !== 'remembers') continue;
    if (remembered.has(line)) ranForOne.push(line);
    remembered.add(line);
  }
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
  expect(ranForOne.length, 'calls ran twice on a server that remembers them', ranForOne);
  if (rounds >= 100 && failures < 10_000)
    problems.push(`only ${failures} calls failed: not enough to judge what was said of them`);
  if (rounds >= 100 && all('notSent').length < 1_000)
    problems.push(`only ${all('notSent').length} calls were said not to have been sent: not enough to judge`);
  const onceTwice = [...runs].filter(([id, count]) => count > 1 && id.includes('-once-')).map(([id]) => id);
  expect(onceTwice.length, 'calls ran twice that must not', onceTwice);
  const numbers = verdicts.map((verdict) => verdict.numbers);
  const faults = numbers.flatMap((each) => each.faults);
  expect(faults.length, 'numbered pushes out of order, twice or lost without a gap', faults);
  const sumOf = (key) => numbers.reduce((sum, each) => sum + each[key], 0);
  if (sumOf('pushes') < rounds * 5) problems.push(`only ${sumOf('pushes')} numbered pushes came`);
  if (total('answered') < wantedCalls)
    problems.push(`only ${total('answered')} of ${wantedCalls} calls were answered`);
  const left = readdirSync(directory).filter((name) => name !== 'ledger');
  expect(left.length, 'files left behind', left);
  after.forEach(({ heapBytes, timers }, index) => {
    const growth = heapBytes - (before?.[index]?.heapBytes ?? heapBytes);
    if (growth > HEAP_GROWTH_LIMIT_BYTES)
      problems.push(`the heap of client ${index} grew by ${growth} bytes`);
    if (timers > MOST_TIMERS) problems.push(`client ${index} has ${timers} timers`);
  });
  // Those of connections that have just been lost may still be there.
  if (atServer.connections > 2 * clients.length)
    problems.push(`the server has ${atServer.connections} connections`);
  if (atServer.timers > MOST_TIMERS) problems.push(`the server has ${atServer.timers} timers`);

  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(0);
  console.log(`did      ${JSON.stringify(did)}`);
  console.log(
    `calls    ${total('started')} made, ${total('answered')} answered, ${failures} failed, in ${seconds} s`,
  );
  console.log(
    `pushes   ${sumOf('pushes')} numbered ones came, with ${sumOf('gaps')} gaps, ${sumOf('openGaps')} of them without an end`,
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
