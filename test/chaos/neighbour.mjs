// What a bad client costs a good one: the p99 of a neighbour's calls while somebody floods the same server and reads
// nothing, and while many send a byte a second, beside that while they do the same to another server, which costs the
// machine as much. Usage, after a build: node test/chaos/neighbour.mjs [--seconds 0.5] [--turns 15]
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Link, request, SocketServer } from '../../dist/index.js';

const WORST_RATIO = 2;
const TRICKLERS = 100;
const CALLS_AT_ONCE = 4;
const BAD = ['flooder', 'trickler'];
/** What else the machine does may spoil a measurement, and hardly each of so many. */
const ATTEMPTS = 3;

/** A frame as any client may send it. */
function frame(id, data) {
  const body = JSON.stringify({
    msg_type: 'request',
    request_id: String(id),
    data: { type: 'echo', data },
    timestamp: new Date().toISOString(),
    error: null,
  });
  const bytes = Buffer.alloc(4 + Buffer.byteLength(body));
  bytes.writeUInt32BE(bytes.length - 4);
  bytes.write(body, 4);
  return bytes;
}

const ROLES = {
  /** Echoes, and says what it costs. */
  async server(path) {
    const server = new SocketServer({ path });
    server.handle('echo', (data) => data);
    await server.listen();
    process.send('started');
    process.on('message', () => {
      globalThis.gc();
      const { rss, heapUsed, arrayBuffers } = process.memoryUsage();
      process.send({ rss, heapUsed, arrayBuffers });
    });
  },
  /** Sends as long as anything is taken, and reads nothing. */
  async flooder(path) {
    const socket = connect(path);
    await once(socket, 'connect');
    process.send('started');
    const chunk = Buffer.concat(Array.from({ length: 100 }, (_, n) => frame(n, 'x'.repeat(2_000))));
    for (;;) if (!socket.write(chunk)) await once(socket, 'drain');
  },
  /** Many connections, in each of which a frame comes a byte at a time. */
  async trickler(path) {
    const sockets = Array.from({ length: TRICKLERS }, () => connect(path).resume());
    await Promise.all(sockets.map((socket) => once(socket, 'connect')));
    const bytes = frame(1, 'x'.repeat(100_000));
    let n = 0;
    setInterval(() => {
      for (const socket of sockets) socket.write(bytes.subarray(n, n + 1));
      n++;
    }, 1_000);
    process.send('started');
  },
};

async function start(role, path) {
  const child = fork(fileURLToPath(import.meta.url), ['--role', role, '--path', path], {
    execArgv: ['--expose-gc'],
  });
  await once(child, 'message');
  return child;
}

async function end(child) {
  child.kill('SIGKILL');
  await once(child, 'exit');
}

/** The p99 of calls that each wait for the one before, in milliseconds. */
async function p99(link, seconds) {
  const latencies = [];
  const until = performance.now() + seconds * 1_000;
  const caller = async () => {
    for (let at = performance.now(); at < until; at = performance.now()) {
      await request(link, 'echo', 'the same for all');
      latencies.push(performance.now() - at);
    }
  };
  await Promise.all(Array.from({ length: CALLS_AT_ONCE }, caller));
  return latencies.sort((a, b) => a - b)[Math.floor(latencies.length * 0.99)];
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

async function measure({ seconds, turns }) {
  const directory = mkdtempSync(join(tmpdir(), 'neighbour-'));
  const path = join(directory, 'server.sock');
  const elsewhere = join(directory, 'elsewhere.sock');
  const server = await start('server', path);
  const other = await start('server', elsewhere);
  const memory = async () => {
    server.send('memory');
    return (await once(server, 'message'))[0];
  };
  const link = new Link({ path });
  await p99(link, 1);
  const p99Of = async (kind, where) => {
    const bad = await start(kind, where);
    const value = await p99(link, seconds);
    const { rss } = await memory();
    await end(bad);
    return { value, rss };
  };
  const results = Object.fromEntries(BAD.map((kind) => [kind, { here: [], there: [], ratios: [], rss: 0 }]));
  const quiet = [];
  const { rss: rssBefore } = await memory();
  // In turns, so that whatever else the machine does falls on all of them; and in each turn the other way about.
  for (let turn = 0; turn < turns; turn++) {
    quiet.push(await p99(link, seconds));
    for (const kind of BAD) {
      const result = results[kind];
      const wheres = turn % 2 === 0 ? [path, elsewhere] : [elsewhere, path];
      const values = new Map();
      for (const where of wheres) values.set(where, await p99Of(kind, where));
      result.here.push(values.get(path).value);
      result.there.push(values.get(elsewhere).value);
      result.ratios.push(values.get(path).value / values.get(elsewhere).value);
      result.rss = Math.max(result.rss, values.get(path).rss - rssBefore);
    }
  }
  await link.close();
  await Promise.all([end(server), end(other)]);
  rmSync(directory, { recursive: true });

  let isWell = true;
  const ms = (value) => `${value.toFixed(2)} ms`;
  console.log(`nobody   p99 ${ms(median(quiet))}`);
  for (const kind of BAD) {
    const { here, there, ratios, rss } = results[kind];
    const ratio = median(ratios);
    if (ratio > WORST_RATIO) isWell = false;
    console.log(
      `${kind.padEnd(8)} p99 ${ms(median(here))}, with the same at another server ${ms(median(there))}: ` +
        `${ratio.toFixed(2)} x (${ratios.map((each) => each.toFixed(1)).join(' ')}); ` +
        `memory ${(rss / 1024 / 1024).toFixed(0)} MiB more at most`,
    );
  }
  console.log(isWell ? 'neighbour: all is well' : `neighbour: more than ${WORST_RATIO} x`);
  return isWell;
}

const { values } = parseArgs({
  options: {
    role: { type: 'string' },
    path: { type: 'string' },
    seconds: { type: 'string', default: '0.5' },
    turns: { type: 'string', default: '15' },
  },
});
if (values.role === undefined) {
  const plan = { seconds: Number(values.seconds), turns: Number(values.turns) };
  let isWell = false;
  for (let attempt = 0; attempt < ATTEMPTS && !isWell; attempt++) isWell = await measure(plan);
  process.exitCode = isWell ? 0 : 1;
} else {
  process.on('disconnect', () => process.exit());
  await ROLES[values.role](values.path);
}
