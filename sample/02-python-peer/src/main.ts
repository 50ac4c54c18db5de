import 'reflect-metadata';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { MicroserviceOptions } from '@nestjs/microservices';
import { RemoteError, UnixSocketClientProxy, UnixSocketServer } from 'nestjs-unix-socket';
import { lastValueFrom, take } from 'rxjs';
import { WorkshopController } from './workshop.controller.js';

const program = join(process.cwd(), 'sample/02-python-peer/peer.py');

@Module({ controllers: [WorkshopController] })
class WorkshopModule {}

/** The program writes its own lines, which begin with "[python]", straight to our output. */
function startPython(role: 'client' | 'server', path: string): ChildProcess {
  return spawn('python3', [program, role, path], { stdio: 'inherit' });
}

function say(text: string): void {
  process.stdout.write(`[nest]   ${text}\n`);
}

function show(value: unknown): string {
  return inspect(value, { breakLength: Infinity });
}

async function pythonCallsNest(path: string): Promise<void> {
  process.stdout.write('\nPython is the client, Nest the server\n');
  const strategy = new UnixSocketServer({ path, accountId: 'workshop' });
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(WorkshopModule, {
    strategy,
    logger: ['error', 'fatal'],
  });
  strategy.on('connect', ({ id }) => say(`${id} connected`));
  strategy.on('disconnect', ({ id }) => say(`${id} left`));
  await app.listen();
  say(`listening on ${path}`);

  let count = 0;
  const timer = setInterval(() => strategy.push('tick', { n: ++count }), 1_000);
  const [code] = (await once(startPython('client', path), 'exit')) as [number | null];
  clearInterval(timer);
  if (code !== 0) throw new Error(`The Python client ended with ${code}`);

  const { receivedByType, sentByType } = strategy.getStats();
  say(`requests received: ${receivedByType.request}, pushes sent: ${sentByType.push}`);
  await app.close();
}

async function nestCallsPython(path: string): Promise<void> {
  process.stdout.write('\nPython is the server, Nest the client\n');
  const client = new UnixSocketClientProxy({ path, reconnect: { initialDelayMs: 200, maxDelayMs: 400 } });
  const python = startPython('server', path);
  const exited = once(python, 'exit');
  try {
    const ask = async (pattern: string, data: unknown): Promise<void> => {
      const answer = client.request(pattern, data).then(show, (error: unknown) => {
        if (!(error instanceof RemoteError)) throw error;
        return `${error.code}: ${error.message}`;
      });
      say(`${pattern} ${show(data)} -> ${await answer}`);
    };
    // The first call waits until the program has started.
    await ask('echo', { text: '你好 from Nest', nested: [1, null, { deep: true }] });
    await ask('sum', [1, 2, 3, 4]);
    await ask('divide', { a: 1, b: 8 });
    await ask('divide', { a: 1, b: 0 });
    await ask('no.such.thing', null);
    // A plain server drops what it is not asked for, so an event goes as a request whose answer nobody waits for.
    await lastValueFrom(client.emit('echo', 'an event'));
    await client
      .pushes<{ n: number }>('tick')
      .pipe(take(2))
      .forEach((tick) => say(`push tick: ${show(tick)}`));

    const { isUpgraded, sent, received, roundTripMs } = client.getStats();
    say(`${sent} sent, ${received} answered, round trip p50 ${roundTripMs.p50.toFixed(2)} ms`);
    say(`upgraded: ${isUpgraded}, so streams, cancellation and metadata stay at home`);
  } finally {
    await client.close();
    python.kill('SIGTERM');
    await exited;
  }
}

async function main(): Promise<void> {
  if (spawnSync('python3', ['--version']).status !== 0) {
    process.stdout.write('This sample needs python3, which was not found here, so it is skipped.\n');
    return;
  }
  const directory = mkdtempSync(join(tmpdir(), 'peer-'));
  try {
    await pythonCallsNest(join(directory, 'nest.sock'));
    await nestCallsPython(join(directory, 'python.sock'));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
