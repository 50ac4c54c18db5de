import type { SocketServerOptions } from '../../options/server-options.js';
import type { IncomingCall } from '../../calls/incoming-call.js';
import type { RequestInfo } from '../../calls/request-handler-registry.js';
import { SocketServer } from '../../server/socket-server.js';

/** The conformance application of a server, as docs/conformance.md describes it. Not listening yet. */
export function makeServerApplication(options: SocketServerOptions): SocketServer {
  const server = new SocketServer({ ...options, accountId: 'acc1' }, { onCall });
  let cancelled = 0;
  let events = 0;

  server.handle('echo', (data: unknown) => data);
  server.handle('nothing', () => undefined);
  server.handle('fail', (text: string) => {
    throw new Error(text);
  });
  server.handle('unencodable', () => {
    const circle: Record<string, unknown> = {};
    circle['self'] = circle;
    return circle;
  });
  server.handle('slow', ({ ms, value }: { ms: number; value: unknown }) => {
    return new Promise((resolve) => setTimeout(resolve, ms, value));
  });
  server.handle('push', ({ type, data }: { type: string; data: unknown }) => {
    server.push(type, data);
    return null;
  });
  server.handle('hang', (_data: unknown, { signal }: RequestInfo) => {
    return new Promise((resolve) => {
      signal.addEventListener('abort', () => resolve(cancelled++), { once: true });
    });
  });
  server.handle('cancelled', () => cancelled);
  server.handle('meta', (_data: unknown, { meta }: RequestInfo) => meta ?? {});
  server.handle('events', () => events);
  return server;

  /** What is no plain function: the stream, and the event. */
  function onCall(call: IncomingCall): boolean {
    const { kind, type, data } = call.message;
    if (kind === 'event' && type === 'event') {
      events++;
      call.complete();
      return true;
    }
    if (kind === 'request' && type === 'stream') {
      for (let n = 1; n <= Number(data); n++) call.next(n);
      call.complete();
      return true;
    }
    return false;
  }
}
