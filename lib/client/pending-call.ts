import { RequestTimeoutError } from '../errors/call.errors.js';
import type { UnixSocketError } from '../errors/unix-socket.error.js';
import type { Metadata } from '../protocol/guards.js';
import type { DeadlineLane, Expiring } from './deadlines.js';

/** Hears of one call. After `error` or `complete` nothing more comes. */
export interface CallObserver {
  /** @param isPacket whether `value` is the output of the server's custom serializer */
  next(value: unknown, isPacket: boolean): void;
  error(error: UnixSocketError): void;
  complete(): void;
}

export interface CallOptions {
  /** Bound on the wait for the first frame. Milliseconds, 0 for never. @default the link's `requestTimeoutMs` */
  readonly timeoutMs?: number | undefined;
  /** Metadata beside the payload. */
  readonly meta?: Metadata | undefined;
  /** Whether the data is the output of a custom serializer. */
  readonly isPacket?: boolean | undefined;
}

/** What a call needs of its link. */
export interface CallHost {
  /** Last error of dialling, for a call that never found a connection. */
  readonly lastError: Error | undefined;
  release(call: PendingCall): void;
  noteFailure(error: UnixSocketError): void;
}

/** One request or event of ours, from the caller's `send` to its end. Ends exactly once. */
export class PendingCall implements Expiring {
  lane: DeadlineLane | undefined;
  previous: Expiring | undefined;
  following: Expiring | undefined;
  expiresAt = 0;
  state: 'waiting' | 'sent' | 'settled' = 'waiting';
  /** Whether any frame of the answer has come. */
  isAnswered = false;

  constructor(
    private readonly host: CallHost,
    readonly kind: 'request' | 'event',
    readonly id: string,
    readonly type: string,
    /** The data, encoded. */
    readonly json: string,
    readonly timeoutMs: number,
    readonly options: CallOptions,
    private readonly observer: CallObserver,
    /** `performance.now()` when it was made. */
    readonly startedAt: number,
  ) {}

  get isSettled(): boolean {
    return this.state === 'settled';
  }

  next(value: unknown, isPacket: boolean): void {
    if (!this.isSettled) this.observer.next(value, isPacket);
  }

  complete(): void {
    if (this.isSettled) return;
    this.settle();
    this.observer.complete();
  }

  fail(error: UnixSocketError): void {
    if (this.isSettled) return;
    this.settle();
    this.host.noteFailure(error);
    this.observer.error(error);
  }

  /** Ends it without telling the observer, who has gone. */
  abandon(): void {
    if (!this.isSettled) this.settle();
  }

  onExpired(): void {
    const delivery = this.state === 'waiting' ? 'notSent' : 'sentNoReply';
    this.fail(
      new RequestTimeoutError(this.type, this.timeoutMs, delivery, delivery === 'notSent' ? this.host.lastError : undefined),
    );
  }

  private settle(): void {
    this.host.release(this);
    this.state = 'settled';
  }
}
