import cluster from 'node:cluster';
import { lutimesSync } from 'node:fs';
import type { Server } from 'node:net';
import { ListenError } from '../errors/address.errors.js';
import { UnixSocketError } from '../errors/unix-socket.error.js';
import { bindHidden, bindInPlace, placeAt, type PathClaimOptions } from './path-claim.js';
import { probePath } from './path-probe.js';
import {
  ensureDirectory,
  HiddenNames,
  identify,
  isRunning,
  removeQuietly,
  stablePath,
  type MakeLink,
} from './socket-path.js';
import { removeStale, sweep } from './stale-socket.js';

export interface SocketFileOptions extends PathClaimOptions {
  readonly path: string;
  /** How often the path is looked at. Milliseconds, 0 for never. */
  readonly watchIntervalMs: number;
  /** For tests of file systems that have no hard links. @default fs.linkSync */
  readonly link?: MakeLink;
}

export interface SocketFileEvents {
  /** The file vanished. It is put back if that can be done. */
  onPathLost(): void;
  /** It cannot: the hidden name is gone too. Only a new socket can help. Told at every look. */
  onPathUnrestorable(): void;
  onPathRestored(): void;
  /** Somebody else's file stands there. It is not touched, unless it is the socket of a server that has died. */
  onPathReplaced(): void;
}

export type SocketFileState = 'held' | 'lost' | 'replaced' | 'released';

/** Cleaners of temporary directories go by age. */
const TOUCH_INTERVAL_MS = 3_600_000;

/**
 * The file by which a listening Unix socket is reached, from claiming its name to giving it up.
 *
 *     bind ─► mode, group ─► hidden name ─► link to path ─► held ⇄ lost, replaced ─► released
 *
 * The hidden name stays as a second link: it keeps the inode number from being reused, and the path is restored from
 * it. What Node removes when the server closes is neither of the two, whoever has the path by then.
 *
 * The workers of a cluster share one socket, which the primary binds to one hidden name. Each worker has a link of
 * its own, so that the last one to go knows that it is the last: no other link of a running process is left.
 */
export class SocketFile {
  private state: SocketFileState = 'held';
  private readonly timer: NodeJS.Timeout | undefined;
  private touchedAt = performance.now();
  private isWatchPaused = false;
  private reclaiming: Promise<void> | undefined;

  /**
   * Binds `server` and puts its socket at the path. If that fails, the server does not listen and may be used again.
   * @throws AddressInUseError naming who holds the path, ListenError, PathTooLongError
   */
  static async claim(
    server: Server,
    options: SocketFileOptions,
    events: SocketFileEvents,
  ): Promise<SocketFile> {
    const path = stablePath(options.path);
    const names = new HiddenNames(path, options.link);
    const own = names.make();
    const shared = cluster.isWorker ? names.shared(process.ppid) : own;
    const cell = names.makeCell();
    try {
      ensureDirectory(path);
      await sweep(names);
      if (cluster.isWorker) await bindInPlace(server, shared, path, options);
      else await bindHidden(server, cell, own, path, options);
    } catch (error) {
      throw asListenError(path, error);
    }
    try {
      const key = identify(shared)?.key;
      if (key === undefined) throw new ListenError(path, 'its socket vanished while it was being made');
      if (own !== shared) names.link(shared, own);
      await placeAt(names, shared, key, options);
      return new SocketFile(names, shared, own, key, options.watchIntervalMs, events);
    } catch (error) {
      removeQuietly(own);
      server.close();
      throw asListenError(path, error);
    }
  }

  private constructor(
    private readonly names: HiddenNames,
    /** The hidden name; in a cluster the one that the primary bound. */
    private readonly shared: string,
    /** A hidden name that is this process's alone; in a cluster another one. */
    private readonly own: string,
    private readonly key: string,
    watchIntervalMs: number,
    private readonly events: SocketFileEvents,
  ) {
    if (watchIntervalMs > 0) this.timer = setInterval(() => this.watch(), watchIntervalMs).unref();
  }

  /** Until the next {@link look}. */
  pauseWatch(): void {
    this.isWatchPaused = true;
  }

  /** Looks at the path now, restores it if it vanished, and goes on watching. Never rejects. */
  async look(): Promise<SocketFileState> {
    this.isWatchPaused = false;
    if (this.state !== 'released') this.check();
    await this.reclaiming;
    return this.state;
  }

  /** Gives up the path; the socket still accepts. What is not ours is not touched. Idempotent. Never rejects. */
  async release(): Promise<void> {
    if (this.state === 'released') return;
    clearInterval(this.timer);
    this.state = 'released';
    if (!cluster.isWorker) {
      this.removePath();
      return;
    }
    removeQuietly(this.own);
    if (this.isShared()) return;
    this.removePath();
    // A worker that joined meanwhile may have found the path as it should be, before it was removed.
    if (this.isShared()) this.restore(this.shared);
  }

  /** Removes what is left, once the socket has been closed. Idempotent. Never rejects. */
  async dispose(): Promise<void> {
    await this.release();
    // In a cluster the primary removes it, when the last worker has closed.
    if (!cluster.isWorker && isQuietly(this.own, this.key)) removeQuietly(this.own);
  }

  private watch(): void {
    if (!this.isWatchPaused) this.check();
  }

  private check(): void {
    let found: string | undefined;
    try {
      found = identify(this.names.path)?.key;
    } catch {
      // Not permitted at the moment, which says nothing about the path.
      return;
    }
    if (found === this.key) {
      this.moveTo('held');
      this.keepAlive();
    } else if (found === undefined) {
      const isBack = this.restore(this.own) || this.restore(this.shared);
      this.moveTo('lost');
      if (isBack) this.moveTo('held');
      else if (this.state === 'lost' && !isQuietly(this.own, this.key)) this.events.onPathUnrestorable();
    } else {
      this.moveTo('replaced');
      this.reclaiming ??= this.reclaim(found).finally(() => (this.reclaiming = undefined));
    }
  }

  /** Comes back to the path if the server that replaced ours there has died since. Never rejects. */
  private async reclaim(key: string): Promise<void> {
    const { path } = this.names;
    try {
      if (identify(path)?.kind !== 'socket' || (await probePath(path, 0)).state !== 'stale') return;
      await removeStale(this.names, path, key);
    } catch {
      // Not permitted; the next look may do better.
      return;
    }
    if (!this.isWatchPaused && this.state !== 'released') this.check();
  }

  private moveTo(state: SocketFileState): void {
    if (state === this.state || this.state === 'released') return;
    this.state = state;
    if (state === 'lost') this.events.onPathLost();
    else if (state === 'replaced') this.events.onPathReplaced();
    else this.events.onPathRestored();
  }

  private restore(from: string): boolean {
    return this.linkQuietly(from, this.names.path);
  }

  /** Somebody may tidy up hidden files, or old ones. */
  private keepAlive(): void {
    for (const name of new Set([this.own, this.shared]))
      if (!isQuietly(name, this.key)) this.linkQuietly(this.names.path, name);
    if (performance.now() - this.touchedAt < TOUCH_INTERVAL_MS) return;
    this.touchedAt = performance.now();
    const now = new Date();
    try {
      lutimesSync(this.names.path, now, now);
    } catch {
      // Then a cleaner may take it, and it is restored.
    }
  }

  private removePath(): void {
    try {
      this.names.removeIf(this.names.path, this.key);
    } catch {
      // The directory is not ours any more. What stays is a dead socket, which the next server removes.
    }
  }

  /** Whether another running worker has a link of its own to our socket. Links of dead ones are removed. */
  private isShared(): boolean {
    let isShared = false;
    for (const { path, owner } of this.names.list()) {
      if (owner === undefined || path === this.shared || !isQuietly(path, this.key)) continue;
      if (owner === process.pid) continue;
      if (isRunning(owner)) isShared = true;
      else removeQuietly(path);
    }
    return isShared;
  }

  private linkQuietly(existing: string, name: string): boolean {
    try {
      this.names.link(existing, name);
      return true;
    } catch {
      return false;
    }
  }
}

function isQuietly(path: string, key: string): boolean {
  try {
    return identify(path)?.key === key;
  } catch {
    return false;
  }
}

function asListenError(path: string, error: unknown): UnixSocketError {
  if (error instanceof UnixSocketError) return error;
  return new ListenError(path, (error as Error).message, { cause: error });
}
