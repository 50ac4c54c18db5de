import cluster from 'node:cluster';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, renameSync } from 'node:fs';
import type { Server } from 'node:net';
import { dirname } from 'node:path';
import { AddressInUseError, ListenError } from '../errors/address.errors.js';
import { probePath } from './path-probe.js';
import {
  errorCode,
  identify,
  removeDirectoryQuietly,
  removeQuietly,
  type HiddenNames,
} from './socket-path.js';
import { removeStale, withLock } from './stale-socket.js';

export interface PathClaimOptions {
  /** File mode of the socket. */
  readonly mode: number;
  /** Numeric; undefined leaves it as it is. */
  readonly group?: number;
  readonly backlog: number;
  /** How long a server found at the path gets to greet, so that it can be named. Milliseconds. */
  readonly probeTimeoutMs: number;
  /** Whether ours may be put over the socket with this identity, because its owner has consented. @default never */
  readonly mayReplace?: (key: string) => boolean;
}

/** How a file gets its final name. */
interface Placing {
  /** False if something is there. */
  whereNothingIs(): boolean;
  over(): void;
}

/** What `link` gives on file systems without hard links, or without hard links to sockets. */
const LINK_REFUSED: ReadonlySet<string | undefined> = new Set([
  'EPERM',
  'ENOTSUP',
  'EOPNOTSUPP',
  'ENOSYS',
  'EXDEV',
  'EMLINK',
]);

/** An attempt is repeated when what stood at the path is gone: more than this is no coincidence. */
const MAX_ATTEMPTS = 50;

/**
 * Listens, gives the file its mode and group, and then its hidden name. Until then it is in a directory that no
 * other user may enter: a socket is made with whatever mode the process's mask leaves, and that mask is left alone,
 * for it would also hit the files that other threads make at this moment, and worker threads may not set it.
 * @param cell the socket in that directory, which is made and removed here
 * @throws AddressInUseError, ListenError
 */
export async function bindHidden(
  server: Server,
  cell: string,
  hidden: string,
  path: string,
  options: PathClaimOptions,
): Promise<void> {
  try {
    mkdirSync(dirname(cell), 0o700);
  } catch (error) {
    throw bindFailure(path, error);
  }
  try {
    await bindInPlace(server, cell, path, options);
    try {
      renameSync(cell, hidden);
    } catch (error) {
      server.close();
      throw error;
    }
  } finally {
    removeDirectoryQuietly(dirname(cell));
  }
}

/**
 * The same without the directory. For the workers of a cluster: the primary makes their socket, with its own mask,
 * and removes it by this name when the last of them has closed.
 */
export async function bindInPlace(
  server: Server,
  name: string,
  path: string,
  { mode, group, backlog }: PathClaimOptions,
): Promise<void> {
  try {
    server.listen({ path: name, backlog });
    await once(server, 'listening');
  } catch (error) {
    throw bindFailure(path, error);
  }
  try {
    if (group !== undefined) chownSync(name, -1, group);
    chmodSync(name, mode);
  } catch (error) {
    // Node removes the name that the server was bound to.
    server.close();
    throw error;
  }
}

/**
 * Brings the socket from its hidden name to its path, which succeeds for one only. What is there is looked at: a
 * live server, or a file that is no socket, is left alone; a dead socket is removed.
 * @throws AddressInUseError naming who holds the path, ListenError
 */
export async function placeAt(
  names: HiddenNames,
  hidden: string,
  key: string,
  options: PathClaimOptions,
): Promise<void> {
  try {
    await place(names, key, options, linking(names, hidden));
  } catch (error) {
    // The workers of a cluster cannot do without links.
    if (cluster.isWorker || !LINK_REFUSED.has(errorCode(error))) throw error;
    await withLock(names, names.lock('place'), () => place(names, key, options, moving(names, hidden)));
  }
}

async function place(
  names: HiddenNames,
  key: string,
  options: PathClaimOptions,
  placing: Placing,
): Promise<void> {
  const { path } = names;
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    if (placing.whereNothingIs()) return;
    const found = identify(path);
    if (found === undefined) continue;
    // Another worker of the same cluster was faster.
    if (found.key === key) return;
    if (found.kind !== 'socket') throw new AddressInUseError(path, `${found.kind}, which is left alone`);
    if (options.mayReplace?.(found.key) === true) {
      placing.over();
      return;
    }
    const probe = await probePath(path, options.probeTimeoutMs);
    if (probe.state === 'alive') throw new AddressInUseError(path, probe.holder);
    if (probe.state === 'stale') await removeStale(names, path, found.key);
  }
  throw new AddressInUseError(path, 'servers that come and go');
}

function linking(names: HiddenNames, hidden: string): Placing {
  return {
    whereNothingIs() {
      try {
        names.link(hidden, names.path);
        return true;
      } catch (error) {
        if (errorCode(error) === 'EEXIST') return false;
        throw error;
      }
    },
    over() {
      const second = names.make();
      names.link(hidden, second);
      renameSync(second, names.path);
      // It is still there if both were names of one file: then rename does nothing.
      removeQuietly(second);
    },
  };
}

/** Moving replaces what is there: only one process at a time may look and move. */
function moving(names: HiddenNames, hidden: string): Placing {
  return {
    whereNothingIs() {
      if (identify(names.path) !== undefined) return false;
      renameSync(hidden, names.path);
      return true;
    },
    over: () => renameSync(hidden, names.path),
  };
}

function bindFailure(path: string, error: unknown): Error {
  const code = errorCode(error);
  if (code === 'EADDRINUSE')
    return new AddressInUseError(path, 'another server of this process', { cause: error });
  if (code === 'EACCES' || code === 'EPERM')
    return new ListenError(path, 'this user may not make files in its directory', { cause: error });
  return new ListenError(path, (error as Error).message, { cause: error });
}
