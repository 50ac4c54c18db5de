import 'reflect-metadata';
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NestFactory } from '@nestjs/core';
import { UnixSocketServer } from 'nestjs-unix-socket';
import { ClientModule, type ClientRole } from './clients.js';
import { Feed, FeedModule } from './feed.js';
import { headline, say, table } from './print.js';
import type { Summary } from './tick.js';

const SLEEP_MS = 2_500;
const ROLES: readonly ClientRole[] = ['desk', 'sleeper', 'ponderer'];
/** One for each policy in the sleeper, one in each of the others. */
const CONNECTIONS = 7;

const sleep = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

async function runClient(role: ClientRole, path: string): Promise<void> {
  const app = await NestFactory.createApplicationContext(ClientModule.of(role, path), {
    logger: ['error', 'fatal'],
  });
  // The feed's process may be killed; this one then has nothing to do.
  process.once('disconnect', () => void app.close());
}

async function runFeed(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'prices-'));
  const path = join(directory, 'prices.sock');
  const app = await NestFactory.create(FeedModule.at(path), { logger: ['error', 'fatal'] });
  const feed = app.get(Feed);
  const server = app.get(UnixSocketServer);
  app.connectMicroservice({ strategy: server });
  await app.startAllMicroservices();
  await app.init();

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      rmSync(directory, { recursive: true, force: true });
      process.exit(1);
    });
  }

  headline('A feed, and three processes that follow it');
  const children = ROLES.map((role) => fork(__filename, [role, path]));
  try {
    await feed.joined(CONNECTIONS);
    await tell(feed, server);
  } finally {
    await Promise.all(children.map(end));
    await app.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

async function tell(feed: Feed, server: UnixSocketServer): Promise<void> {
  headline('400 ticks a second, in five rooms, one for each policy; everybody reads');
  feed.start();
  await sleep(1_000);

  headline(`The sleeper blocks for ${SLEEP_MS / 1_000} s and reads nothing; the others go on`);
  server.to('latest').push('sleep', SLEEP_MS);
  await sleep(SLEEP_MS);

  headline('It wakes up, and reads what was kept for it');
  await sleep(1_500);
  feed.stop();
  await sleep(300); // for the last ticks
  const reports = ROLES.map((role) => feed.report(role));
  server.push('over', null);
  const [desk, sleeper, ponderer] = await Promise.all(reports);

  headline(`What each client saw of ${feed.ticks} ticks, by the policy of the server`);
  const row = (name: string, summary: Summary): unknown[] => [
    name,
    summary.received,
    summary.late,
    summary.missed,
    summary.longestGap || '-',
    summary.connections,
  ];
  table([
    ['sleeper', 'received', 'late', 'missed', 'longest gap', 'connections'],
    ...Object.entries(sleeper?.seen ?? {}).map(([policy, summary]) => row(policy, summary)),
    ['desk'],
    ...Object.entries(desk?.seen ?? {}).map(([policy, summary]) => row(policy, summary)),
  ]);
  const { pushesDropped, slowConsumers } = server.getStats();
  say('feed', `dropped or replaced ${pushesDropped} pushes; found a client slow ${slowConsumers} times`);

  headline('What a handler saw that takes 25 ms for a tick, by the policy of its subscription');
  table([
    ['ponderer', 'handled', 'missed', 'last age'],
    ...Object.entries(ponderer?.seen ?? {}).map(([overflow, { received, missed, lastAgeMs }]) => [
      overflow,
      received,
      missed,
      `${lastAgeMs} ms`,
    ]),
  ]);
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.disconnect();
  await exited;
}

const [role, path] = process.argv.slice(2);
const run = role === undefined || path === undefined ? runFeed() : runClient(role as ClientRole, path);
run.catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
