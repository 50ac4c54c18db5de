import { createHash, randomBytes } from 'node:crypto';
import { linkSync, lstatSync, mkdirSync, readdirSync, renameSync, rmdirSync, unlinkSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { ListenError } from '../errors/address.errors.js';
import { PathTooLongError } from '../errors/option.errors.js';
import { MAX_PATH_BYTES } from '../options/endpoint.js';

/** Who a file is. Inode numbers alone are reused at once. */
export interface FileIdentity {
  /** Device, inode and time of birth in nanoseconds. */
  readonly key: string;
  readonly kind: 'socket' | 'a regular file' | 'a directory' | 'a symbolic link' | 'a special file';
}

/** Undefined if nothing is there. Symbolic links are not followed. @throws the error of `lstat` */
export function identify(path: string): FileIdentity | undefined {
  try {
    const stats = lstatSync(path, { bigint: true, throwIfNoEntry: false });
    if (stats === undefined) return undefined;
    const kind = stats.isSocket()
      ? 'socket'
      : stats.isFile()
        ? 'a regular file'
        : stats.isDirectory()
          ? 'a directory'
          : stats.isSymbolicLink()
            ? 'a symbolic link'
            : 'a special file';
    return { key: `${stats.dev}:${stats.ino}:${stats.birthtimeNs}`, kind };
  } catch (error) {
    // Not even its directory is one any more.
    if (errorCode(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** The directory of `path`; created, for this user alone, if it is missing. @throws ListenError */
export function ensureDirectory(path: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new ListenError(path, `its directory cannot be made: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** The path that goes on meaning the same file when the process changes its directory, if the kernel takes it. */
export function stablePath(path: string): string {
  const absolute = resolve(path);
  return Buffer.byteLength(absolute) <= MAX_PATH_BYTES ? absolute : path;
}

/** How a second name for a file is made; `fs.linkSync`, but for tests. */
export type MakeLink = (existing: string, name: string) => void;

/** A hidden name found in the directory. */
export interface HiddenName {
  readonly path: string;
  /** The process that made it; undefined for a lock, which belongs to whoever has it. */
  readonly owner: number | undefined;
}

/** A process id in base 36: at most 2^22 on Linux. Always as long, so that no path fits on some days only. */
const OWNER_CHARS = 5;
/** The only name in a directory that keeps a socket from others. */
export const CELL_NAME = 's';
/** As many as leave the name of a lock no longer than the others. */
const LOCK_CHARS = 9;

/**
 * Hidden names beside a path, and what is done with them. All of them are short, so that they fit into `sun_path`
 * wherever the path does or nearly so.
 *
 *     .<hash of the name>.<process>.<random>      a socket of that process, or one that it is removing
 *     .<hash of the name>.<process>.<random>/s    one that is not ready to be seen
 *     .<hash of the name>..<what>                 a lock: a socket bound by whoever has it
 *
 * Everything here is synchronous: between looking and acting, nothing else of this process gets its turn.
 */
export class HiddenNames {
  private readonly directory: string;
  private readonly prefix: string;

  constructor(
    readonly path: string,
    readonly link: MakeLink = linkSync,
  ) {
    this.directory = dirname(path);
    this.prefix = `.${digest(basename(path))}.`;
  }

  /** @throws PathTooLongError if the directory leaves no room for it */
  make(owner: number = process.pid, suffix: string = randomBytes(3).toString('base64url')): string {
    return this.fitting(this.beside(`${owner.toString(36).padStart(OWNER_CHARS, '0')}.${suffix}`));
  }

  /** A name in a directory that is still to be made. @throws PathTooLongError */
  makeCell(): string {
    return this.fitting(join(this.make(), CELL_NAME));
  }

  /** The name on which the workers of one cluster agree. */
  shared(primary: number): string {
    return this.make(primary, digest(this.path));
  }

  lock(what: string): string {
    return this.beside(`.${digest(what, LOCK_CHARS)}`);
  }

  /** What is there now; nothing, if the directory cannot be read. */
  list(): HiddenName[] {
    const found: HiddenName[] = [];
    for (const name of readQuietly(this.directory)) {
      if (!name.startsWith(this.prefix)) continue;
      const owner = Number.parseInt(name.slice(this.prefix.length, this.prefix.length + OWNER_CHARS), 36);
      found.push({ path: join(this.directory, name), owner: Number.isNaN(owner) ? undefined : owner });
    }
    return found;
  }

  /**
   * Removes the file at `path` if it is the one with this identity. It is moved aside first and looked at there:
   * between looking and moving, somebody may have put another one at the path, and gets it back.
   * @throws the error of `rename`, for example because the directory belongs to another user
   */
  removeIf(path: string, key: string): boolean {
    if (identify(path)?.key !== key) return false;
    const aside = this.make();
    try {
      renameSync(path, aside);
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return false;
      throw error;
    }
    const isMeant = identify(aside)?.key === key;
    if (isMeant) removeQuietly(aside);
    else this.putBack(aside, path);
    return isMeant;
  }

  private putBack(aside: string, path: string): void {
    try {
      this.link(aside, path);
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') {
        // No hard links here, or not to the socket of another user.
        if (identify(path) === undefined) renameSync(aside, path);
        return;
      }
      // A third one was faster. A server finds that out by itself; nothing else is ever deleted.
      if (identify(aside)?.kind !== 'socket') return;
    }
    removeQuietly(aside);
  }

  private beside(name: string): string {
    return join(this.directory, this.prefix + name);
  }

  private fitting(name: string): string {
    const bytes = Buffer.byteLength(name);
    if (bytes > MAX_PATH_BYTES) throw new PathTooLongError(this.path, bytes, MAX_PATH_BYTES, name);
    return name;
  }
}

export function removeQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Gone already, or not ours to remove any more.
  }
}

/** Only an empty one. */
export function removeDirectoryQuietly(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // Gone already, or in use.
  }
}

function readQuietly(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

export function errorCode(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code;
}

/** Whether a process with this id runs, as far as can be seen from here: a container sees its own ones only. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errorCode(error) === 'EPERM';
  }
}

/** Four characters, 24 bits, are enough to tell apart what stands in one directory. */
function digest(text: string, chars = 4): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, chars);
}
