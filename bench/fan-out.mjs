// One server pushes to many clients. Do clients that never read cost the others anything, and what does a push cost
// beside a bare node:net loop that writes one prepared buffer to every socket? Fails (exit code 1) when a push is
// missing, when memory passes the caps, or when a ratio passes the bounds below.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { positiveInteger } from './support/arguments.mjs';
import { median } from './support/statistics.mjs';

const USAGE = `npm run fan-out -- [options]
  --clients <n>  of which some do not read (default 1000)
  --stalled <n>  that never read (default 10)
  --pushes <n>   in each round (default 2000)
  --rounds <n>   of each kind, taking turns (default 7)
  --bytes <n>    of data in a push (default 100)`;

/** With clients that do not read, the others get their pushes at least this fast, beside without. */
const STALLED_BOUND = 0.9;
/** CPU time of the server for a push to 100 clients, beside the bare loop. */
const FLOOR_BOUND = 1.3;
const FLOOR_CLIENTS = 100;

const SEND_QUEUE_BYTES = 256 * 1024;
/** What V8 and the kernel's own buffering add to the caps; measured without stalled clients it is as much. */
const SLACK_BYTES = 32 * 2 ** 20;
/** Pushes under way: more than this is not sent before the slowest reader has the oldest. */
const WINDOW = 64;
/** A push that does not come is waited for this long. */
const ROUND_LIMIT_MS = 120_000;

async function serve(kind, path) {
  const { add, push, count } = kind === 'ours' ? await ours(path) : await floor(path);
  let acknowledged = 0;
  let wake = () => undefined;
  process.on('disconnect', () => process.exit());
  process.on('message', (message) => {
    if ('acknowledged' in message) {
      acknowledged = message.acknowledged;
      wake();
    } else if ('count' in message) {
      process.send({ count: count() });
    } else {
      void run(message);
    }
  });
  await add();
  process.send('listening');

  async function run({ pushes, bytes }) {
    acknowledged = 0;
    const data = 'x'.repeat(bytes);
    const before = process.cpuUsage();
    const startedAt = performance.now();
    let peakBytes = 0;
    for (let i = 0; i < pushes; i++) {
      while (i - acknowledged >= WINDOW) await new Promise((resolve) => (wake = resolve));
      push(data);
      if (i % 50 === 0) peakBytes = Math.max(peakBytes, held());
      await new Promise(setImmediate);
    }
    while (acknowledged < pushes) await new Promise((resolve) => (wake = resolve));
    const { user, system } = process.cpuUsage(before);
    process.send({ ms: performance.now() - startedAt, cpuMicros: user + system, peakBytes });
  }
}

function held() {
  const { heapUsed, arrayBuffers, external } = process.memoryUsage();
  return heapUsed + Math.max(arrayBuffers, external);
}

async function ours(path) {
  const { SocketServer } = await import('../dist/index.js');
  // The clients say nothing, not even that they are there.
  const server = new SocketServer({
    path,
    maxSendQueueBytes: SEND_QUEUE_BYTES,
    heartbeat: { enabled: false },
  });
  return {
    add: () => server.listen(),
    push: (data) => server.push('tick', data, { policy: 'dropOldest' }),
    count: () => server.connectionCount,
  };
}

async function floor(path) {
  const sockets = new Set();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket)).on('error', () => undefined);
  });
  let prepared;
  return {
    add: () => once(server.listen(path), 'listening'),
    push: (data) => {
      prepared ??= frame(data);
      for (const socket of sockets) socket.write(prepared);
    },
    count: () => sockets.size,
  };
}

/** As ours are: the kernel's work is the same. */
function frame(data) {
  const body = Buffer.from(
    JSON.stringify({
      msg_type: 'push',
      request_id: '0123456789ab-1000',
      data: { type: 'tick', data },
      timestamp: '2024-01-02T03:04:05.006000',
      error: null,
    }),
  );
  const header = Buffer.alloc(4);
  header.writeUInt32BE(body.length);
  return Buffer.concat([header, body]);
}

async function main() {
  const { values } = parseArgs({
    options: {
      clients: { type: 'string', default: '1000' },
      stalled: { type: 'string', default: '10' },
      pushes: { type: 'string', default: '2000' },
      rounds: { type: 'string', default: '7' },
      bytes: { type: 'string', default: '100' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return;
  }
  const given = (name) => positiveInteger(name, values[name]);
  const [clients, stalled, pushes, rounds, bytes] = ['clients', 'stalled', 'pushes', 'rounds', 'bytes'].map(
    given,
  );
  const directory = mkdtempSync(join(tmpdir(), 'fan-out-'));
  let failures = 0;
  const check = (isGood, text) => {
    if (!isGood) failures++;
    console.log(`${isGood ? 'ok' : 'FAILED'}: ${text}`);
  };
  try {
    await slowClients();
    await besideFloor();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  process.exitCode = failures === 0 ? 0 : 1;

  async function slowClients() {
    const server = await Server.start('ours', join(directory, 'slow.sock'));
    const readers = await server.connect(clients - stalled);
    await server.round(readers, { pushes: Math.min(pushes, 500), bytes });
    const speed = { without: [], with: [] };
    const peak = { without: 0, with: 0 };
    for (let round = 0; round < rounds; round++) {
      for (const kind of round % 2 === 0 ? ['without', 'with'] : ['with', 'without']) {
        const idle = await server.connect(kind === 'with' ? stalled : 0, { isReading: false });
        const result = await server.round(readers, { pushes, bytes });
        speed[kind].push(pushes / result.ms);
        peak[kind] = Math.max(peak[kind], result.peakBytes);
        for (const { socket } of idle) socket.destroy();
        await server.untilCount(readers.length);
      }
    }
    const ratios = speed.with.map((value, round) => value / speed.without[round]);
    console.log(
      `${clients} clients, ${bytes} bytes: ${(median(speed.without) * 1000).toFixed(0)} pushes/s to all who read`,
    );
    check(true, `every reader had all of ${(rounds * 2 * pushes).toLocaleString('en-US')} pushes`);
    check(
      median(ratios) >= STALLED_BOUND,
      `with ${stalled} that never read ${ratio(ratios)} of that speed, bound ${STALLED_BOUND}`,
    );
    const bound = stalled * SEND_QUEUE_BYTES + SLACK_BYTES;
    const more = peak.with - peak.without;
    check(more <= bound, `memory for them ${mib(more)}, bound ${mib(bound)}; in all ${mib(peak.with)}`);
    server.stop(readers);
  }

  async function besideFloor() {
    const servers = {};
    for (const kind of ['ours', 'floor']) {
      const server = await Server.start(kind, join(directory, `${kind}.sock`));
      servers[kind] = { server, readers: await server.connect(FLOOR_CLIENTS), costs: [] };
      await server.round(servers[kind].readers, { pushes, bytes });
    }
    for (let round = 0; round < rounds; round++) {
      for (const kind of round % 2 === 0 ? ['ours', 'floor'] : ['floor', 'ours']) {
        const { server, readers, costs } = servers[kind];
        const { cpuMicros } = await server.round(readers, { pushes, bytes });
        costs.push(cpuMicros / pushes);
      }
    }
    const ratios = servers.ours.costs.map((cost, round) => cost / servers.floor.costs[round]);
    console.log(
      `${FLOOR_CLIENTS} clients: CPU of the server for a push ${median(servers.ours.costs).toFixed(0)} µs, ` +
        `of the bare loop ${median(servers.floor.costs).toFixed(0)} µs`,
    );
    check(median(ratios) <= FLOOR_BOUND, `that is ${ratio(ratios)} of the bare loop, bound ${FLOOR_BOUND}`);
    for (const { server, readers } of Object.values(servers)) server.stop(readers);
  }
}

function ratio(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return `${median(values).toFixed(3)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
}

function mib(bytes) {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

/** A server process, and the clients that this process has there. */
class Server {
  #child;
  #path;
  #greets;

  static async start(kind, path) {
    const server = new Server();
    server.#path = path;
    server.#greets = kind === 'ours';
    server.#child = fork(fileURLToPath(import.meta.url), ['server', kind, path]);
    await once(server.#child, 'message');
    return server;
  }

  async connect(count, { isReading = true } = {}) {
    const before = await this.#count();
    const readers = [];
    for (let i = 0; i < count; i++) {
      const reader = new Reader(connect(this.#path), isReading);
      await once(reader.socket, 'connect');
      if (this.#greets && isReading) await new Promise((resolve) => reader.when(1, resolve));
      readers.push(reader);
    }
    await this.untilCount(before + count);
    return readers;
  }

  async untilCount(count) {
    while ((await this.#count()) !== count) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  /** Pushes to all; resolves once every reader has every push. Rejects if one gets something else. */
  async round(readers, { pushes, bytes }) {
    let behind = readers.length;
    let level = 0;
    const step = WINDOW / 4;
    const atLevel = () => {
      if (--behind > 0) return;
      level = Math.min(level + step, pushes);
      this.#child.send({ acknowledged: level });
      next();
    };
    const next = () => {
      if (level === pushes) return;
      behind = readers.length;
      const target = Math.min(level + step, pushes);
      for (const reader of readers) reader.when(target, atLevel);
    };
    for (const reader of readers) reader.begin();
    next();
    this.#child.send({ pushes, bytes });
    const [result] = await once(this.#child, 'message', { signal: AbortSignal.timeout(ROUND_LIMIT_MS) });
    return result;
  }

  stop(readers) {
    for (const { socket } of readers) socket.destroy();
    this.#child.disconnect();
  }

  async #count() {
    this.#child.send({ count: true });
    const [{ count }] = await once(this.#child, 'message');
    return count;
  }
}

/** Counts frames. */
class Reader {
  #frames = 0;
  #target = Infinity;
  #onTarget = () => undefined;
  #missing = 0;
  #header = [];

  constructor(socket, isReading) {
    this.socket = socket;
    socket.on('error', () => undefined);
    if (isReading) socket.on('data', (chunk) => this.#onData(chunk));
    else socket.pause();
  }

  begin() {
    this.#frames = 0;
  }

  when(target, callback) {
    this.#target = target;
    this.#onTarget = callback;
    this.#look();
  }

  #look() {
    if (this.#frames < this.#target) return;
    this.#target = Infinity;
    // Not from within the loop that sets the next target.
    process.nextTick(this.#onTarget);
  }

  #onData(chunk) {
    for (let at = 0; at < chunk.length;) {
      if (this.#missing > 0) {
        const taken = Math.min(this.#missing, chunk.length - at);
        this.#missing -= taken;
        at += taken;
      } else {
        this.#header.push(chunk[at++]);
        if (this.#header.length < 4) continue;
        this.#missing = Buffer.from(this.#header).readUInt32BE();
        this.#header.length = 0;
      }
      if (this.#missing === 0 && this.#header.length === 0) this.#frames++;
    }
    this.#look();
  }
}

// Behind the classes that it needs.
if (process.argv[2] === 'server') await serve(process.argv[3], process.argv[4]);
else await main();
