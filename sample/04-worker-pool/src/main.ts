import 'reflect-metadata';
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { MicroserviceOptions } from '@nestjs/microservices';
import { RemoteError, UnixSocketError, UnixSocketServer } from 'nestjs-unix-socket';
import type { Job } from './jobs.js';
import { headline, say, storyStart } from './narrator.js';
import { WorkerPool } from './worker-pool.js';

const directory = mkdtempSync(join(tmpdir(), 'pool-'));
const path = join(directory, 'pool.sock');
const names = ['anna', 'bert', 'cleo'];
const children = new Map<string, ChildProcess>();

@Module({})
class SupervisorModule {}

function startWorker(name: string): void {
  children.set(
    name,
    fork(join(__dirname, 'worker.js'), [path, name], {
      env: { ...process.env, STORY_START: String(storyStart) },
    }),
  );
}

async function stopWorkers(): Promise<void> {
  const running = [...children.values()].filter(
    ({ exitCode, signalCode }) => exitCode === null && signalCode === null,
  );
  const exits = running.map((child) => once(child, 'exit'));
  for (const child of running) child.kill('SIGTERM');
  await Promise.all(exits);
}

/** Runs the jobs on whoever is free, and says how each went. */
async function runAll(pool: WorkerPool, jobs: readonly Job[]): Promise<void> {
  const report = async (job: Job): Promise<void> => {
    try {
      const { worker, primes } = await pool.run(job);
      say('pool', `${job.name}: ${primes} primes below ${job.below}, says ${worker}`);
    } catch (error) {
      if (!(error instanceof UnixSocketError)) throw error;
      const origin = error instanceof RemoteError ? 'the worker says' : 'the transport says';
      say('pool', `${job.name} failed: ${origin} ${error.code} (${error.delivery ?? ''}): ${error.message}`);
    }
  };
  await Promise.all(jobs.map(report));
}

async function main(): Promise<void> {
  const server = new UnixSocketServer({ path, drainTimeoutMs: 2_000 });
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(SupervisorModule, {
    strategy: server,
    logger: ['error', 'fatal'],
  });
  const pool = new WorkerPool(server);
  await app.listen();
  try {
    headline('Three workers connect, and are called once they say that they take calls');
    for (const name of names) startWorker(name);
    await pool.size(names.length);

    headline('Seven jobs for three workers: each goes to whoever is free, one at a time');
    const below = [40_000, 50_000, 60_000, 70_000, 80_000, 90_000, 100_000];
    await runAll(
      pool,
      below.map((limit, i) => ({ name: `job ${i + 1}`, below: limit })),
    );

    headline('A worker refuses what it cannot do: its own error, and the worker is free again');
    await runAll(pool, [{ name: 'odd job', below: -1 }]);

    headline('A job that takes too long: its time limit travels, and the worker stops');
    await runAll(pool, [{ name: 'long job', below: 1_000_000_000, timeoutMs: 300 }]);

    headline(
      'A worker is killed in the midst of its job: the pool hears at once, and gives the job to another',
    );
    const killed = pool.run({ name: 'hard job', below: 2_000_000 }, (worker) => {
      say('pool', `hard job is with ${worker}, which is killed`);
      // Only the first time: whoever has it next may finish it.
      if (children.get(worker)?.kill('SIGKILL') === true) children.delete(worker);
    });
    const { worker, primes, attempts } = await killed;
    say('pool', `hard job: ${primes} primes, says ${worker}, at attempt ${attempts}`);

    headline('A stream: progress as it is made, until nobody listens any more');
    await pool.watch({ name: 'survey', below: 1_000_000_000 }, 4).forEach((progress) => {
      say('pool', `survey: ${progress.primes} primes below ${progress.upTo}`);
    });
  } finally {
    headline('The end: workers finish and leave');
    await stopWorkers();
    await app.close();
    rmSync(directory, { recursive: true, force: true });
    const { failuresByCode, totalConnections } = server.getStats();
    say('pool', `${totalConnections} connections, failed calls: ${JSON.stringify(failuresByCode)}`);
  }
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
