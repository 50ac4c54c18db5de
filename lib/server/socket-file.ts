import cluster from 'node:cluster';
import { createHash } from 'node:crypto';
import { promises as fs } from 'node:fs';
import type { Server } from 'node:net';
import { resolve } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { AddressInUseError, ListenError } from '../errors/address.errors.js';
import { withPathLock } from './path-lock.js';
import { probePath } from './path-probe.js';
import { ensureDirectory, HiddenNames, identify, removeQuietly } from './socket-path.js';

export interface SocketFileOptions {
  readonly path: string;
  readonly mode: number;
  /** Numeric; undefined leaves it as it is. */
  readonly group?: number;
  readonly backlog: number;
  /** How long a server found at the path gets to show that it is alive. Milliseconds. */
  readonly probeTimeoutMs: number;
  /** How often the path is looked at. Milliseconds, 0 for never. */
  readonly watchIntervalMs: number;
  /** Put ours over whatever socket stands at the path: its owner has consented. @default false */
  readonly takeOver?: boolean;
}

export interface SocketFileEvents {
  /** The file vanished. It is put back if that can be done. */
  onPathLost(): void;
  onPathRestored(): void;
  /** Another server's file stands there. It is not touched. */
  onPathReplaced(): void;
}

export type SocketFileState = 'held' | 'lost' | 'replaced' | 'released';

const ATTEMPTS = 20;
/** Cleaners of temporary directories go by age. */
const TOUCH_INTERVAL_MS = 3_600_000;
/** Filesystems without hard links to sockets. */
const LINK_REFUSED: ReadonlySet<unknown> = new Set([
  'EPERM',
  'ENOTSUP',
  'EOPNOTSUPP',
  'ENOSYS',
  'EXDEV',
  'EMLINK',
]);
/** How long the last of several cluster workers waits to find out that it was the last. */
const LAST_OUT_MS = 500;

/**
 * The file by which a listening Unix socket is reached, from claiming its name to giving it up.
 *
 * The socket is bound to a hidden name, gets its mode there, and is linked to the path, which fails if anything is
 * there. What is there is probed: a live server is left alone; a stale socket is moved aside, compared with the one
 * that was probed, and removed. The hidden name stays as a second link: it keeps the inode number from being
 * reused, and the path can be restored from it.
 */
export class SocketFile {
  private state: SocketFileState = 'held';
  private timer: NodeJS.Timeout | undefined;
  private touchedAt = performance.now();
  private isWatchPaused = false;

  /**
   * Binds `server` and puts its socket at the path.
   * @throws AddressInUseError naming who holds the path, ListenError, PathTooLongError
   */
  static async claim(
    server: Server,
    options: SocketFileOptions,
    events: SocketFileEvents,
  ): Promise<SocketFile> {
    const { path } = options;
    await ensureDirectory(path);
    const names = new HiddenNames(path);
    // Workers of one cluster share one socket: the primary binds the name on which they agree.
    const hidden = cluster.isWorker
      ? names.make(process.ppid, createHash('sha256').update(path).digest('hex').slice(0, 4))
      : names.make();
    return withPathLock(resolve(path), async () => {
      await names.sweep();
      await bind(server, hidden, options);
      try {
        const key = (await identify(hidden))?.key;
        if (key === undefined) throw new ListenError(path, 'its socket vanished while it was being made');
        await place(path, hidden, key, names, options);
        return new SocketFile(path, hidden, key, names, options, events);
      } catch (error) {
        // Node removes the name it was bound to.
        await new Promise((done) => server.close(done));
        throw error;
      }
    });
  }

  private constructor(
    private readonly path: string,
    private readonly hidden: string,
    private readonly key: string,
    private readonly names: HiddenNames,
    options: SocketFileOptions,
    private readonly events: SocketFileEvents,
  ) {
    if (options.watchIntervalMs > 0) {
      this.timer = setInterval(() => void this.watch(), options.watchIntervalMs).unref();
    }
  }

  /** Until the next {@link look}. */
  pauseWatch(): void {
    this.isWatchPaused = true;
  }

  /** Looks at the path now, restores it if it vanished, and goes on watching. */
  async look(): Promise<SocketFileState> {
    this.isWatchPaused = false;
    if (this.state === 'released') return this.state;
    const found = await identify(this.path);
    if (found?.key === this.key) {
      this.moveTo('held');
      await this.refresh();
    } else if (found === undefined) {
      this.moveTo('lost');
      await this.restore();
    } else {
      this.moveTo('replaced');
    }
    return this.state;
  }

  /** Gives up the path; the socket still accepts. What is not ours is not touched. Idempotent. */
  async release(): Promise<void> {
    if (this.state === 'released') return;
    clearInterval(this.timer);
    this.state = 'released';
    if (!cluster.isWorker) await this.names.removeIf(this.key);
  }

  /** Removes what is left, once the socket has been closed. Idempotent. */
  async dispose(): Promise<void> {
    if (!cluster.isWorker) {
      if ((await identify(this.hidden))?.key === this.key) await removeQuietly(this.hidden);
      return;
    }
    // The primary removes the hidden name when the last worker has closed; whoever sees that clears the path.
    for (const end = performance.now() + LAST_OUT_MS; performance.now() < end;) {
      if ((await identify(this.hidden)) === undefined) {
        await this.names.removeIf(this.key);
        return;
      }
      await new Promise((done) => setTimeout(done, 20));
    }
  }

  private async watch(): Promise<void> {
    // A failed look says nothing about the path; the next one will.
    if (!this.isWatchPaused) await this.look().catch(() => undefined);
  }

  private async refresh(): Promise<void> {
    if ((await identify(this.hidden)) === undefined)
      await fs.link(this.path, this.hidden).catch(() => undefined);
    if (performance.now() - this.touchedAt < TOUCH_INTERVAL_MS) return;
    this.touchedAt = performance.now();
    const now = new Date();
    await fs.utimes(this.path, now, now).catch(() => undefined);
  }

  private async restore(): Promise<void> {
    try {
      await fs.link(this.hidden, this.path);
    } catch {
      return;
    }
    this.moveTo('held');
  }

  private moveTo(state: SocketFileState): void {
    const previous = this.state;
    if (state === previous || previous === 'released') return;
    this.state = state;
    if (state === 'lost') this.events.onPathLost();
    else if (state === 'replaced') this.events.onPathReplaced();
    else this.events.onPathRestored();
  }
}

/** Listens on the hidden name; the file never has a looser mode than wanted, not even there. */
async function bind(server: Server, hidden: string, options: SocketFileOptions): Promise<void> {
  const { mode, group, backlog } = options;
  // Binding happens within listen(); worker threads may not set the mask, and in a cluster the primary binds.
  const mask = isMainThread && !cluster.isWorker ? process.umask(0o777 & ~mode) : undefined;
  try {
    await new Promise<void>((done, fail) => {
      server.once('error', fail);
      server.listen({ path: hidden, backlog }, () => {
        server.off('error', fail);
        done();
      });
      if (mask !== undefined) process.umask(mask);
    });
    await fs.chmod(hidden, mode);
    if (group !== undefined) await fs.chown(hidden, -1, group);
  } catch (error) {
    if (server.listening) server.close();
    throw new ListenError(options.path, (error as Error).message, { cause: error });
  }
}

async function place(
  path: string,
  hidden: string,
  key: string,
  names: HiddenNames,
  options: SocketFileOptions,
): Promise<void> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    if (options.takeOver === true && (await identify(path))?.kind === 'socket') {
      const second = names.make();
      await fs.link(hidden, second);
      await fs.rename(second, path);
      return;
    }
    try {
      await fs.link(hidden, path);
      return;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (LINK_REFUSED.has(code)) return placeWithoutLinks(path, hidden, names, options);
      if (code !== 'EEXIST') throw new ListenError(path, (error as Error).message, { cause: error });
    }
    if (await isOurs(path, key)) return;
    await removeStale(path, names, options.probeTimeoutMs);
  }
  throw new AddressInUseError(path, 'other servers that come and go');
}

/** Whether another worker of the same cluster has put our common socket there. */
async function isOurs(path: string, key: string): Promise<boolean> {
  return (await identify(path))?.key === key;
}

/** Returns if the path is free now, or may be. @throws AddressInUseError if somebody has it */
async function removeStale(path: string, names: HiddenNames, probeTimeoutMs: number): Promise<void> {
  const found = await identify(path);
  if (found === undefined) return;
  if (found.kind !== 'socket') throw new AddressInUseError(path, `${found.kind}, which is left alone`);
  const probe = await probePath(path, probeTimeoutMs);
  if (probe.state === 'alive') throw new AddressInUseError(path, probe.holder);
  if (probe.state === 'stale') await names.removeIf(found.key);
}

/** The path moves to the socket instead of getting a second link; between look and move the lock alone protects. */
async function placeWithoutLinks(
  path: string,
  hidden: string,
  names: HiddenNames,
  options: SocketFileOptions,
): Promise<void> {
  await removeStale(path, names, options.probeTimeoutMs);
  await fs.rename(hidden, path);
}
