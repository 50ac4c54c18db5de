// What a bad client costs a good one: the p99 of a neighbour's calls while somebody floods the same server and reads
// nothing, and while many send a byte a second, beside that of quiet moments of the same run.
// Usage, after a build: node test/chaos/neighbour.mjs [--seconds 2] [--turns 3]
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
  if (child === undefined) return;
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
  const server = await start('server', path);
  const memory = async () => {
    server.send('memory');
    return (await once(server, 'message'))[0];
  };
  const link = new Link({ path });
  await p99(link, 1);
  const figures = { nobody: [], flooder: [], trickler: [] };
  const costs = { nobody: 0, flooder: 0, trickler: 0 };
  // In turns, so that whatever else the machine does falls on all of them.
  for (let turn = 0; turn < turns; turn++) {
    for (const kind of Object.keys(figures)) {
      const { rss: before } = await memory();
      const bad = kind === 'nobody' ? undefined : await start(kind, path);
      // The flood itself is over as soon as nothing more is taken of it.
      figures[kind].push(await p99(link, seconds));
      costs[kind] = Math.max(costs[kind], (await memory()).rss - before);
      await end(bad);
    }
  }
  await link.close();
  await end(server);
  rmSync(directory, { recursive: true });

  const quiet = median(figures.nobody);
  let isWell = true;
  for (const [kind, values] of Object.entries(figures)) {
    const ratio = median(values) / quiet;
    if (ratio > WORST_RATIO) isWell = false;
    console.log(
      `${kind.padEnd(9)} p99 ${values.map((ms) => ms.toFixed(2)).join(' / ')} ms, median ${ratio.toFixed(2)} x; ` +
        `memory ${(costs[kind] / 1024 / 1024).toFixed(0)} MiB more at most`,
    );
  }
  console.log(isWell ? 'neighbour: all is well' : `neighbour: more than ${WORST_RATIO} x`);
  process.exitCode = isWell ? 0 : 1;
}

const { values } = parseArgs({
  options: {
    role: { type: 'string' },
    path: { type: 'string' },
    seconds: { type: 'string', default: '2' },
    turns: { type: 'string', default: '3' },
  },
});
if (values.role === undefined) {
  await measure({ seconds: Number(values.seconds), turns: Number(values.turns) });
} else {
  process.on('disconnect', () => process.exit());
  await ROLES[values.role](values.path);
}
