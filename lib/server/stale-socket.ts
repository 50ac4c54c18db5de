import { lstatSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { ListenError } from '../errors/address.errors.js';
import { probePath } from './path-probe.js';
import {
  CELL_NAME,
  errorCode,
  identify,
  isRunning,
  removeDirectoryQuietly,
  removeQuietly,
  type HiddenNames,
} from './socket-path.js';

const LOCK_RETRY_MS = 5;
/** Locks are held for milliseconds. Whoever has one for longer is stopped, or only wants to be a nuisance. */
const LOCK_PATIENCE_MS = 2_000;
/** Those who lose patience lose it together, and then keep apart by chance. */
const SPREAD_MS = 500;
/** Between its bind() and its listen() a starting server refuses connections as a dead one does. */
const SECOND_LOOK_MS = 20;
/** A directory for a socket that is being made exists for less than a millisecond. */
const OLD_CELL_MS = 10_000;

/**
 * Removes the dead socket with this identity from `path`; nothing happens if another one stands there by now, or it
 * answers after all.
 *
 * Only who has the lock named after its identity may remove it. So nobody who found it dead a while ago can remove
 * what has been put there since: with the lock he sees that it is gone, and the same identity never comes again.
 * A lock whose holder was killed is a dead socket too, and is removed in the same way.
 * @throws ListenError if that is not permitted
 */
export function removeStale(names: HiddenNames, path: string, key: string): Promise<void> {
  return withLock(names, names.lock(key), async () => {
    if (identify(path)?.key !== key) return;
    await delay(SECOND_LOOK_MS);
    if ((await probePath(path, 0)).state !== 'stale') return;
    try {
      names.removeIf(path, key);
    } catch (error) {
      const reason = `the dead socket ${path} cannot be removed: ${(error as Error).message}`;
      throw new ListenError(names.path, reason, { cause: error });
    }
  });
}

/**
 * Runs `work` while nobody else has this lock: a socket bound to its name, which succeeds for one only, also for
 * processes in different containers. Whether its holder lives is asked like that of any socket. If it cannot be
 * had, `work` runs without: what it protects against takes three processes at work within the same microseconds.
 * @throws ListenError if no file can be made in the directory
 */
export async function withLock<T>(names: HiddenNames, lock: string, work: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + LOCK_PATIENCE_MS;
  let unlock = await tryLock(names, lock);
  while (unlock === undefined && performance.now() < deadline) {
    const holder = identify(lock);
    const isDead = holder?.kind === 'socket' && (await probePath(lock, 0)).state === 'stale';
    // One of another user may stay: then it is like one that somebody has.
    if (isDead) await removeStale(names, lock, holder.key).catch(() => undefined);
    else await delay(LOCK_RETRY_MS);
    unlock = await tryLock(names, lock);
  }
  if (unlock === undefined) await delay(Math.random() * SPREAD_MS);
  try {
    return await work();
  } finally {
    unlock?.();
  }
}

/** Removes what processes left beside the path that were killed. */
export async function sweep(names: HiddenNames): Promise<void> {
  for (const { path, owner } of names.list()) {
    // In a container each start has the same number: our own number says nothing, nor does that of our parent.
    if (owner !== undefined && owner !== process.pid && owner !== process.ppid && isRunning(owner)) continue;
    // What stays will be found again by the next start; it is no reason not to start.
    await sweepOne(names, path).catch(() => undefined);
  }
}

async function sweepOne(names: HiddenNames, path: string): Promise<void> {
  const found = identify(path);
  if (found?.kind === 'a directory') {
    if (Date.now() - lstatSync(path).mtimeMs < OLD_CELL_MS) return;
    const inside = join(path, CELL_NAME);
    if (identify(inside)?.kind === 'socket' && (await probePath(inside, 0)).state === 'stale')
      removeQuietly(inside);
    removeDirectoryQuietly(path);
  } else if (found?.kind === 'socket' && (await probePath(path, 0)).state === 'stale') {
    await removeStale(names, path, found.key);
  }
}

/** Undefined if somebody has it. */
function tryLock(names: HiddenNames, lock: string): Promise<(() => void) | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', (error) => {
      if (errorCode(error) === 'EADDRINUSE') resolve(undefined);
      else reject(new ListenError(names.path, error.message, { cause: error }));
    });
    // Exclusive: in a cluster worker too, it is this process that has it. Closing removes the name.
    server.listen({ path: lock, exclusive: true }, () => resolve(() => server.close()));
  });
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
