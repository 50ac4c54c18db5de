import { Logger } from '@nestjs/common';
import type { IncomingCall } from '../calls/incoming-call.js';
import type { Link } from '../client/link.js';
import type { Session } from '../client/session.js';
import type { Metadata } from '../protocol/guards.js';
import { CallStrategy } from './call-strategy.js';
import type { UnixSocketClientProxy } from './unix-socket.client.js';
import { UnixSocketClientContext } from './unix-socket.client-context.js';
import { getUnixSocketClientTransport } from './unix-socket.constants.js';
import type { UnixSocketClientEvents, UnixSocketClientStatus } from './unix-socket.events.js';

/**
 * The strategy that lets controllers answer what a server asks this client. Handlers are those of
 * `@OnRequest(pattern, { client: name })`, and, as with every strategy, those bound to no transport.
 * @example app.connectMicroservice({ strategy: client.handlers })
 */
export class UnixSocketClientHandlers extends CallStrategy<
  Session,
  UnixSocketClientEvents,
  UnixSocketClientStatus
> {
  override transportId: symbol;
  protected override readonly logger = new Logger(UnixSocketClientHandlers.name);

  constructor(
    private readonly client: UnixSocketClientProxy,
    private readonly link: Link,
    clientName: string | undefined,
  ) {
    super({});
    this.transportId = getUnixSocketClientTransport(clientName);
  }

  /** Called by Nest. The client connects, if it has not; whether the server is there already does not matter. */
  listen(done: (error?: unknown) => void): void {
    this.link.takeCalls((call) => this.dispatch(call));
    this.link.connect().catch((error: Error) => this.logger.debug(error.message));
    done();
  }

  /** Called by Nest. Closes the client. */
  close(): Promise<unknown> {
    return this.client.close();
  }

  on<E extends keyof UnixSocketClientEvents>(event: E, listener: UnixSocketClientEvents[E]): void {
    this.client.on(event, listener);
  }

  unwrap<T>(): T {
    return this.client.unwrap<never>() as T;
  }

  protected contextOf(
    call: IncomingCall<Session>,
    pattern: string,
    meta: Metadata | undefined,
  ): UnixSocketClientContext {
    return new UnixSocketClientContext([this.client, pattern, meta, call]);
  }
}
