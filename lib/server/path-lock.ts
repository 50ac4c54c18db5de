import { createHash } from 'node:crypto';
import { createServer } from 'node:net';

/** All that an abstract name may have. Shorter ones are padded by Node 20 and so differ from those of newer Nodes. */
const NAME_BYTES = 107;
const RETRY_MS = 10;
/** Claiming takes milliseconds; a name held for longer is somebody's nuisance, and the lock only a convenience. */
const PATIENCE_MS = 3_000;

/**
 * Lets one process at a time claim a path. Claiming is safe without it but for a window of microseconds; with it
 * there is none between processes of one network namespace. The kernel releases the lock of a process that dies.
 * Linux only; elsewhere, and if it cannot be had, claiming goes on without.
 */
export async function withPathLock<T>(path: string, claim: () => Promise<T>): Promise<T> {
  const release = process.platform === 'linux' ? await acquire(nameFor(path)) : undefined;
  try {
    return await claim();
  } finally {
    release?.();
  }
}

function nameFor(path: string): string {
  const digest = createHash('sha256').update(path).digest('hex');
  return `\0nestjs-unix-socket/claim/${digest}`.padEnd(NAME_BYTES, '.');
}

async function acquire(name: string): Promise<(() => void) | undefined> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const release = await tryAcquire(name);
    if (release !== undefined || performance.now() > deadline) return release;
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

function tryAcquire(name: string): Promise<(() => void) | undefined> {
  return new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', () => resolve(undefined));
    // Exclusive: in a cluster worker too, it is this process that holds it.
    server.listen({ path: name, exclusive: true }, () => resolve(() => server.close()));
  });
}
