import 'reflect-metadata';
import cluster from 'node:cluster';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Controller, Logger, Module } from '@nestjs/common';
import { MessagePattern, type MicroserviceOptions } from '@nestjs/microservices';
import { NestFactory } from '@nestjs/core';
import { UnixSocketClientProxy, UnixSocketServer } from 'nestjs-unix-socket';

const WORKERS = 2;
const CLIENTS = 4;

@Controller()
class WorkController {
  /** Work for a processor: counts the primes below `limit`. */
  @MessagePattern('primes')
  primes(limit: number): { worker: number; primes: number } {
    let primes = 0;
    for (let candidate = 2; candidate < limit; candidate++) {
      let divisor = 2;
      while (divisor * divisor <= candidate && candidate % divisor !== 0) divisor++;
      if (divisor * divisor > candidate) primes++;
    }
    return { worker: process.pid, primes };
  }
}

@Module({ controllers: [WorkController] })
class WorkModule {}

/** Every worker listens on the same path; the primary hands each connection to the next one. */
async function serve(path: string): Promise<void> {
  const strategy = new UnixSocketServer({ path });
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(WorkModule, {
    strategy,
    logger: ['error', 'fatal'],
  });
  app.enableShutdownHooks();
  await app.listen();
  process.send?.('listening');
}

async function callFrom(clients: readonly UnixSocketClientProxy[]): Promise<void> {
  const calls = clients.flatMap((client) =>
    Array.from({ length: 5 }, () => client.request<{ worker: number; primes: number }>('primes', 50_000)),
  );
  const answers = await Promise.all(calls);
  const counts = new Map<number, number>();
  for (const { worker } of answers) counts.set(worker, (counts.get(worker) ?? 0) + 1);
  for (const [worker, count] of counts)
    write(`worker ${worker} answered ${count} of ${answers.length} calls`);
}

async function stop(worker: NonNullable<(typeof cluster)['worker']>): Promise<void> {
  const exited = once(worker, 'exit');
  worker.process.kill('SIGTERM');
  await exited;
}

async function lead(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'cluster-'));
  const path = join(directory, 'work.sock');
  const workers = Array.from({ length: WORKERS }, () => cluster.fork({ SOCKET_PATH: path }));
  await Promise.all(workers.map((worker) => once(worker, 'message')));
  write(`${WORKERS} workers listen on ${path}`);

  // A connection belongs to one worker: whoever wants several to work for it opens several.
  const clients = Array.from({ length: CLIENTS }, () => new UnixSocketClientProxy({ path }));
  try {
    await callFrom(clients);

    write('One worker is stopped; its clients connect again, to the other one');
    await stop(workers[0] as (typeof workers)[number]);
    await callFrom(clients);
  } finally {
    await Promise.all(clients.map((client) => client.close()));
    await Promise.all(workers.filter((worker) => !worker.isDead()).map(stop));
    write(existsSync(path) ? 'the socket was left behind' : 'no process and no socket file is left');
    rmSync(directory, { recursive: true, force: true });
  }
}

function write(text: string): void {
  process.stdout.write(`${text}\n`);
}

Logger.overrideLogger(['error', 'fatal']);
const main = cluster.isPrimary ? lead() : serve(process.env['SOCKET_PATH'] as string);
main.catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
