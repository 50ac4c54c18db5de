import { createHash, randomBytes } from 'node:crypto';
import { promises as fs } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { ListenError } from '../errors/address.errors.js';
import { PathTooLongError } from '../errors/option.errors.js';
import { MAX_PATH_BYTES } from '../options/endpoint.js';
import { probePath } from './path-probe.js';

const SWEEP_PROBE_MS = 200;

/** Who a file is: inode numbers alone are reused at once. */
export interface FileIdentity {
  readonly key: string;
  readonly kind: 'socket' | 'a regular file' | 'a directory' | 'a symbolic link' | 'a special file';
}

/** Undefined if nothing is there. Symbolic links are not followed. */
export async function identify(path: string): Promise<FileIdentity | undefined> {
  try {
    const stats = await fs.lstat(path, { bigint: true });
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
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new ListenError(path, (error as Error).message, { cause: error });
  }
}

/** The directory of `path`; created, for this user alone, if it is missing. */
export async function ensureDirectory(path: string): Promise<void> {
  try {
    await fs.mkdir(dirname(resolve(path)), { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new ListenError(path, `its directory cannot be made: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/**
 * Hidden names beside a path: `.<hash of the name>.<process>.<random>`. Short, so that they fit wherever the path
 * does; with the process in them, so that those of dead ones can be swept.
 */
export class HiddenNames {
  private readonly directory: string;
  private readonly prefix: string;

  constructor(private readonly path: string) {
    this.directory = dirname(path);
    this.prefix = `.${createHash('sha256').update(basename(path)).digest('base64url').slice(0, 4)}.`;
  }

  /** @throws PathTooLongError if the directory leaves no room for it */
  make(owner: number = process.pid, suffix: string = randomBytes(2).toString('hex')): string {
    const name = join(this.directory, `${this.prefix}${owner.toString(36)}.${suffix}`);
    const bytes = Buffer.byteLength(name);
    if (bytes > MAX_PATH_BYTES) throw new PathTooLongError(name, bytes, MAX_PATH_BYTES);
    return name;
  }

  /** Removes what processes left that were killed. */
  async sweep(): Promise<void> {
    for (const name of await fs.readdir(this.directory).catch(() => [])) {
      const owner = name.startsWith(this.prefix) ? Number.parseInt(name.slice(this.prefix.length), 36) : NaN;
      if (Number.isNaN(owner) || isSomebodyElse(owner)) continue;
      const leftover = join(this.directory, name);
      if ((await identify(leftover))?.kind !== 'socket') continue;
      // The number alone says nothing: in a container each start has the same one.
      if ((await probePath(leftover, SWEEP_PROBE_MS)).state === 'stale') await removeQuietly(leftover);
    }
  }

  /**
   * Removes the file at the path if it is the one with this identity. It is moved aside first and looked at there:
   * between looking and removing, another process may have put its own at the path, and gets it back.
   */
  async removeIf(key: string): Promise<boolean> {
    if ((await identify(this.path))?.key !== key) return false;
    const aside = this.make();
    try {
      await fs.rename(this.path, aside);
    } catch {
      return false;
    }
    const isMeant = (await identify(aside))?.key === key;
    if (!isMeant) await fs.link(aside, this.path).catch(() => undefined);
    await removeQuietly(aside);
    return isMeant;
  }
}

export async function removeQuietly(path: string): Promise<void> {
  await fs.unlink(path).catch(() => undefined);
}

/** Another process that is running; it looks after its files by itself. */
function isSomebodyElse(pid: number): boolean {
  if (pid === process.pid || pid === process.ppid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
