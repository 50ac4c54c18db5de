import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Connection } from '../connection/connection.js';
import { AccountMismatchError, ConnectError, ConnectTimeoutError } from '../errors/connection.errors.js';
import type { ResolvedLinkOptions } from '../options/client-options.js';
import { readGreeting, type GreetingInfo } from '../protocol/guards.js';
import { withTruth } from './dial.js';

/** What a handshake needs of the session it begins. */
export interface HandshakeOwner {
  readonly label: string;
  /** Calls may be sent. @param greeting undefined if it is not waited for */
  onGreeted(greeting: GreetingInfo | undefined): void;
}

/** From dialling to the server's greeting, or to the reason why there is none. */
export class Handshake {
  /** Why the server was not reached. */
  failure: ConnectError | undefined;
  private readonly timer: NodeJS.Timeout;

  constructor(
    private readonly owner: HandshakeOwner,
    private readonly socket: Duplex,
    private readonly connection: Connection,
    private readonly options: ResolvedLinkOptions,
  ) {
    const { awaitGreeting, connectTimeoutMs } = options;
    socket.once('error', this.onError);
    this.timer = setTimeout(
      () => connection.destroy(new ConnectTimeoutError(owner.label, connectTimeoutMs)),
      connectTimeoutMs,
    );
    if (awaitGreeting) return;
    // Streams of one's own are open from the start.
    if (socket instanceof Socket) socket.once('connect', () => this.finish());
    else process.nextTick(() => this.finish());
  }

  stop(): void {
    clearTimeout(this.timer);
  }

  /** @param data of the first response, as it came */
  onGreeting(data: unknown): void {
    const greeting = readGreeting(data);
    const { accountId: expected } = this.options;
    // As V1 clients do; the original's V2 clients do not look.
    const isExpected =
      this.connection.dialect.version !== 'v1' || expected === '' || greeting.accountId === expected;
    if (isExpected) this.finish(greeting);
    else this.connection.destroy(new AccountMismatchError(this.owner.label, expected, greeting.accountId));
  }

  private finish(greeting?: GreetingInfo): void {
    this.stop();
    this.socket.off('error', this.onError);
    this.owner.onGreeted(greeting);
  }

  private readonly onError = (error: NodeJS.ErrnoException): void => {
    if (this.connection.bytesReceived === 0)
      this.failure = new ConnectError(this.owner.label, withTruth(error, this.options.endpoint));
  };
}
