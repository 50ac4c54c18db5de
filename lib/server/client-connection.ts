import type { ClientStreamOptions } from '../calls/answer-iterator.js';
import type { CallChannel } from '../calls/call-channel.js';
import type { CallObserver } from '../calls/pending-call.js';
import type { ClientRequestOptions } from '../calls/request.js';
import type { ProtocolVersion } from '../protocol/dialect.js';
import type { Metadata } from '../protocol/guards.js';
import type { SlowConsumerPolicy } from './push-queue.js';

/** How a push travels. */
export interface PushOptions {
  /** What happens to it where the client is slow to read. @default the room's policy, else 'disconnect' */
  readonly policy?: SlowConsumerPolicy | undefined;
  /** For `latest`: which value it is the newest of. @default '': of its type */
  readonly key?: string | undefined;
  /** Metadata beside the payload. */
  readonly meta?: Metadata | undefined;
}

/** What happened to a push. */
export interface PushOutcome {
  /** Connections it was handed to. */
  readonly recipients: number;
  /** Connections it was meant for and not handed to, because they do not read. */
  readonly dropped: number;
}

/** A connected client, as handlers and applications see it. */
export interface ClientConnection {
  /** Eight hex digits, told to the client in its greeting. Unique among the server's live connections. */
  readonly id: string;
  /** Whether the client is one of ours: it understands streams, cancellation, metadata and the like. */
  readonly isUpgraded: boolean;
  /** Version of the base protocol; undefined until the client has sent its first frame. */
  readonly protocolVersion: ProtocolVersion | undefined;
  /** What an upgraded client said of itself. */
  readonly clientName: string | undefined;
  /** The account an upgraded client said it belongs to. */
  readonly accountId: string | undefined;
  /** When it connected, milliseconds since the epoch. */
  readonly connectedAt: number;
  readonly isConnected: boolean;
  /** Whether it takes calls: it is one of ours and has handlers. It may say so at any time; see the event `callable`. */
  readonly isCallable: boolean;
  /** The rooms it is in. */
  readonly rooms: ReadonlySet<string>;
  /** Enters rooms; it leaves them all when it disconnects. @throws ConnectionClosedError if it has */
  join(...rooms: string[]): void;
  leave(...rooms: string[]): void;
  /** Sends a message to this client alone. @throws EncodeError, FrameTooLargeError */
  push(type: string, data: unknown, options?: PushOptions): PushOutcome;
  /**
   * As `push`, and resolves once the client's handlers have finished. Rejects with the error of the first that failed,
   * and with `UNKNOWN_PATTERN` if there is none.
   * @throws EncodeError, and the errors of {@link request}
   */
  pushAcked(type: string, data: unknown, options?: ClientRequestOptions): Promise<void>;
  /**
   * Calls a handler of this client: a promise of its answer; of a stream, the last value. Undefined if it gave none.
   * Never repeated.
   * @throws NotCallableError, RemoteError, RequestTimeoutError, RequestAbortedError, ConnectionLostError, EncodeError
   * and the other errors of a call, each with its `delivery`
   */
  request<T = unknown>(type: string, data: unknown, options?: ClientRequestOptions): Promise<T>;
  /**
   * As {@link request}, with each value of the answer as it comes. Returns the function that cancels.
   * @throws EncodeError, InvalidOptionError; all other errors go to the observer
   */
  stream(
    type: string,
    data: unknown,
    observer: CallObserver,
    options?: Omit<ClientRequestOptions, 'signal'>,
  ): () => void;
  /**
   * As {@link request}, with each value of the answer for a `for await` loop, no faster than the loop takes them. The
   * call is made with the first `next()`, and cancelled when the loop is left.
   * @throws EncodeError, InvalidOptionError; all other errors come from `next()`
   */
  iterate<T = unknown>(
    type: string,
    data: unknown,
    options?: ClientStreamOptions,
  ): AsyncIterableIterator<T, undefined>;
  /** Sends what is queued and ends the connection; with `reason`, an upgraded client is told. */
  close(reason?: string): void;
}

/** The connection a call came from. */
export interface Caller extends ClientConnection, CallChannel {}
