import { connect } from 'node:net';
import { Connection } from '../connection/connection.js';
import { ANY_SERVER } from '../protocol/dialects.js';
import { readGreeting, type GreetingInfo } from '../protocol/guards.js';

/** What answers at a socket path: nobody any more, nothing at all, or a server, described for people. */
export type ProbeResult =
  { readonly state: 'stale' | 'missing' } | { readonly state: 'alive'; readonly holder: string };

const MAX_GREETING_BYTES = 64 * 1024;
/** Somebody else's text goes into our messages. */
const MAX_TEXT = 100;

/** Connects, and reads the greeting if there is one within `timeoutMs`. Sends nothing. In doubt it is alive. */
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
          alive(describeServer(readGreeting(data)));
        },
        onEnd: () => alive('a running server that ends connections at once'),
        onClose: () => alive('a running server of another kind'),
      },
      path,
      MAX_GREETING_BYTES,
      ANY_SERVER,
    );
    // A process that was busy for longer finds its timers first; what came meanwhile is read before the immediate.
    const timer = setTimeout(
      () => setImmediate(() => alive('a running server that does not greet')),
      timeoutMs,
    );
    socket.once('error', ({ code }: NodeJS.ErrnoException) => {
      if (code === 'ECONNREFUSED') finish({ state: 'stale' });
      else if (code === 'ENOENT') finish({ state: 'missing' });
      else if (code === 'EAGAIN') alive('a running server that is too busy to answer');
      else if (code === 'EACCES' || code === 'EPERM') alive('a socket that this user may not connect to');
      else if (code === 'EPROTOTYPE') alive('a socket that is no stream socket');
      else alive('a running server that does not answer');
    });
  });
}

/** Who it is, as far as its greeting tells. */
export function describeServer({ accountId, connectionId }: GreetingInfo): string {
  if (connectionId === '') return 'a running server';
  const account = accountId === '' ? '' : `account ${JSON.stringify(accountId.slice(0, MAX_TEXT))}, `;
  return `a running server (${account}connection ${connectionId.slice(0, MAX_TEXT)})`;
}
