import { connect } from 'node:net';
import { Connection } from '../connection/connection.js';
import { readGreeting } from '../protocol/guards.js';

/** What answers at a socket path: nobody any more, nothing at all, or a server, described for people. */
export type ProbeResult =
  { readonly state: 'stale' | 'missing' } | { readonly state: 'alive'; readonly holder: string };

const MAX_GREETING_BYTES = 64 * 1024;

/** Connects, and reads the greeting if there is one in time. Sends nothing. */
export function probePath(path: string, timeoutMs: number): Promise<ProbeResult> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const finish = (result: ProbeResult): void => {
      clearTimeout(timer);
      resolve(result);
      connection.destroy();
    };
    const alive = (holder: string): void => finish({ state: 'alive', holder });
    const connection = new Connection(
      socket,
      {
        onMessage: ({ data }) => {
          const { accountId, connectionId } = readGreeting(data);
          alive(connectionId === '' ? 'a running server' : `a running server of account "${accountId}"`);
        },
        onEnd: () => alive('a running server that ends connections at once'),
        onClose: () => alive('a running server of another kind'),
      },
      path,
      MAX_GREETING_BYTES,
    );
    const timer = setTimeout(() => alive('a running server that does not greet'), timeoutMs);
    socket.once('error', ({ code }: NodeJS.ErrnoException) => {
      if (code === 'ECONNREFUSED') finish({ state: 'stale' });
      else if (code === 'ENOENT') finish({ state: 'missing' });
      else if (code === 'EACCES') alive('a server that this user may not connect to');
      else alive('a running server that is too busy to answer');
    });
  });
}
