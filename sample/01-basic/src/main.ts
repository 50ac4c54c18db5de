import 'reflect-metadata';
import { fork, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ClientsModule } from '@nestjs/microservices';
import {
  UnixSocketClientProxy,
  UnixSocketError,
  type LatencySummary,
  type ServerStats,
} from 'nestjs-unix-socket';
import { lastValueFrom, take } from 'rxjs';
import type { Quote } from './market.js';
import { headline, say, show, sleep, storyStart, write } from './narrator.js';

/** Private to this user: the directory is made with mode 0700, and the server makes the socket with 0600. */
const directory = mkdtempSync(join(tmpdir(), 'desk-'));
const path = join(directory, 'desk.sock');
const reconnect = { initialDelayMs: 400, maxDelayMs: 800 };

@Module({
  imports: [
    ClientsModule.register([
      { name: 'DESK', customClass: UnixSocketClientProxy, options: { path, reconnect } },
    ]),
  ],
})
class TraderModule {}

let server: ChildProcess | undefined;

function startServer(): ChildProcess {
  const env = { ...process.env, STORY_START: String(storyStart) };
  return fork(join(__dirname, 'server.js'), [path], { env });
}

async function stopServer(signal: NodeJS.Signals): Promise<void> {
  if (server === undefined || server.exitCode !== null || server.signalCode !== null) return;
  const exited = once(server, 'exit');
  server.kill(signal);
  await exited;
}

/** The Python program of sample 02, a client like any other. Resolves with the number of its answers. */
function runPython(): Promise<number | undefined> {
  const program = join(process.cwd(), 'sample/02-python-peer/peer.py');
  const python = spawn('python3', [program, 'client', path], { stdio: ['ignore', 'pipe', 'inherit'] });
  let answers = 0;
  createInterface(python.stdout).on('line', (line) => {
    const text = line.replace('[python] ', '');
    const isAnswer = text.includes(' -> ');
    if (isAnswer) answers++;
    if (text.startsWith('push ')) say('python', 'push', text.slice('push '.length));
    else say('python', isAnswer ? 'request' : 'process', text);
  });
  return new Promise((resolve) => {
    python.once('close', () => resolve(answers));
    python.once('error', () => {
      say('python', 'process', 'python3 is not installed here, so that part is left out');
      resolve(undefined);
    });
  });
}

/** Says the answer, or how the call failed. */
async function report(call: string, answer: Promise<unknown>): Promise<void> {
  try {
    say('client', 'request', `${call} -> ${show(await answer)}`);
  } catch (error) {
    if (!(error instanceof UnixSocketError)) throw error;
    const { code, delivery, message } = error;
    const details = 'details' in error && error.details !== undefined ? ` ${show(error.details)}` : '';
    say('client', 'error', `${call} -> ${code} (${delivery ?? ''}): ${message}${details}`);
  }
}

async function tell(desk: UnixSocketClientProxy): Promise<void> {
  desk.on('connect', () => say('client', 'connect', `connected as ${desk.getStats().connectionId ?? ''}`));
  desk.on('reconnecting', (attempt, delayMs, { code }) => {
    const what = attempt === 1 ? 'the connection is lost, attempt 1' : `attempt ${attempt}`;
    say('client', 'reconnect', `${what} follows in ${Math.round(delayMs)} ms (${code})`);
  });
  desk.onPush('order.filled', (data) => say('client', 'push', `order.filled: ${show(data)}`));
  desk.onPush('tick', (data) => say('client', 'push', `tick: ${show(data)}`));

  headline('Start in any order: the client calls before there is a server');
  const early = report('quote ACME', desk.request('quote', 'ACME'));
  server = startServer();
  await early;
  const python = runPython();

  headline('Requests: string patterns and object patterns');
  const order = { symbol: 'ACME', quantity: 300 };
  await report('quote GLOBEX', lastValueFrom(desk.send<Quote>('quote', 'GLOBEX')));
  await report(`{ cmd: 'value' } ${show(order)}`, desk.request({ cmd: 'value' }, order));

  headline('An RpcException arrives as an error, with its code and details');
  await report('quote NADA', desk.request('quote', 'NADA'));

  headline('A stream without an end, ended by unsubscribing');
  const firstFour = desk.send<Quote>('watch', 'INITECH').pipe(take(4));
  await firstFour.forEach((quote) => say('client', 'stream', show(quote)));

  headline('A long request, given up with an AbortSignal');
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 300);
  await report('report 2026', desk.request('report', 2026, { signal: controller.signal }));
  await sleep(50); // for what the server has to say of it

  headline('An event, answered by a push to this client alone; ticks are pushed to everybody, Python too');
  await lastValueFrom(desk.emit({ order: 'placed' }, order));
  const pythonAnswers = await python;

  headline('The server is killed in the middle of two requests, and started again');
  const doomed = report('report 1999', desk.request('report', 1999));
  const repeated = report('average ACME', desk.request('average', 'ACME', { idempotent: true }));
  await sleep(150);
  await stopServer('SIGKILL');
  await doomed;
  say('client', 'request', 'average ACME was marked idempotent, so it is not failed but repeated');
  say('client', 'request', 'quote ACME, while nobody is there: it waits');
  const patient = report('quote ACME', desk.request('quote', 'ACME'));
  await sleep(300);
  server = startServer();
  await Promise.all([repeated, patient]);

  headline('Ten thousand quotes, sixteen at a time');
  const startedAt = performance.now();
  const callers = Array.from({ length: 16 }, async () => {
    for (let count = 0; count < 625; count++) await desk.request('quote', 'ACME');
  });
  await Promise.all(callers);
  say('client', 'request', `10000 answered in ${Math.round(performance.now() - startedAt)} ms`);

  await summarise(desk, pythonAnswers);
}

async function summarise(desk: UnixSocketClientProxy, pythonAnswers: number | undefined): Promise<void> {
  const there = await desk.request<ServerStats>('stats', null);
  const here = desk.getStats();
  const rows = [
    ['client', `${here.sent} calls sent, ${here.received} answers, ${here.pushesReceived} pushes`],
    ['  connection', `reconnects: ${here.reconnects}, calls repeated: ${here.repeated}`],
    ['  round trip', percentiles(here.roundTripMs)],
    ['  failed calls', show(here.failuresByCode)],
    ['server, second life', `${there.messagesReceived} messages received, ${there.messagesSent} sent`],
    ['  handlers', percentiles(there.handlerLatencyMs)],
    ['python', pythonAnswers === undefined ? 'was not here' : `${pythonAnswers} answers`],
  ] as const;
  headline('Summary, from getStats() of both ends');
  for (const [name, text] of rows) write(`  ${name.padEnd(20)}  ${text}`);
}

function percentiles({ p50, p99 }: LatencySummary): string {
  return `p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`;
}

async function main(): Promise<void> {
  const app = await NestFactory.createApplicationContext(TraderModule, { logger: ['error', 'fatal'] });
  try {
    await tell(app.get<UnixSocketClientProxy>('DESK'));
  } finally {
    headline('Shutdown: the client closes, the server gets SIGTERM');
    await app.close();
    await stopServer('SIGTERM');
    const isLeft = existsSync(path);
    rmSync(directory, { recursive: true, force: true });
    say(
      'client',
      'bye',
      isLeft ? 'the server left its socket behind' : 'no process and no socket file is left',
    );
  }
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    server?.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
    process.exit(1);
  });
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
