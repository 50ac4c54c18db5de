import { once } from 'node:events';
import { renameSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';

/** What a killed server leaves at `path`: a socket on which nobody listens. */
export async function leaveDeadSocket(path: string): Promise<void> {
  const server = createServer();
  const bound = join(dirname(path), `bound-${process.hrtime.bigint()}`);
  server.listen(bound);
  await once(server, 'listening');
  // Node removes the name that it was bound to, and no other.
  renameSync(bound, path);
  await new Promise((resolve) => server.close(resolve));
}
