import type { DeadlineLane, Expiring } from '../connection/deadlines.js';
import type { FlushListener } from '../connection/send-queue.js';
import type { Slotted } from '../connection/slots.js';
import { RequestTimeoutError } from '../errors/call.errors.js';
import { ConnectionLostError } from '../errors/connection.errors.js';
import { InvalidOptionError } from '../errors/option.errors.js';
import type { Delivery, UnixSocketError } from '../errors/unix-socket.error.js';
import { milliseconds } from '../options/rules.js';
import { extra } from '../protocol/envelope.js';
import type { Metadata } from '../protocol/guards.js';
import type { MessageBody } from '../protocol/message-body.js';
import type { Payload } from '../protocol/payload.js';

/** Hears of one call. After `error` or `complete` nothing more comes. */
export interface CallObserver {
  /** @param isPacket whether `value` is the output of the server's custom serializer */
  next(value: unknown, isPacket: boolean): void;
  error(error: UnixSocketError): void;
  complete(): void;
}

export interface CallOptions {
  /**
   * Bound on the whole call, told to an upgraded server as its deadline. Milliseconds, 0 for never.
   * Without it, the link's `requestTimeoutMs` bounds the wait for the first frame only.
   */
  readonly timeoutMs?: number | undefined;
  /** Running it twice does no harm: it is repeated when the connection is lost before an answer. @default false */
  readonly idempotent?: boolean | undefined;
  /** Metadata beside the payload. */
  readonly meta?: Metadata | undefined;
  /** Whether the data is the output of a custom serializer. */
  readonly isPacket?: boolean | undefined;
  /** Set if the values of a stream are taken one by one. @internal */
  readonly intake?: CallIntake | undefined;
}

/** How many values of a stream may be on their way. */
export interface CallIntake {
  /** So many at first. */
  readonly window: number;
  /** Whether the other end keeps to it; set with every sending. */
  isAgreed: boolean;
  /** Whether any may come now: if not, the other end is silent because of us. */
  readonly isOpen: boolean;
}

/** The intake of a call as it goes with its request. */
export function creditExtra(intake: CallIntake | undefined, isAgreed: boolean): string {
  if (intake === undefined) return '';
  intake.isAgreed = isAgreed;
  return isAgreed ? extra('credit', intake.window) : '';
}

const TIMEOUT_RULE = milliseconds(0);

/** @throws InvalidOptionError */
export function callTimeoutMs(options: CallOptions, defaultMs: number): number {
  const { timeoutMs = defaultMs } = options;
  if (!TIMEOUT_RULE.accepts(timeoutMs))
    throw new InvalidOptionError('timeoutMs', timeoutMs, TIMEOUT_RULE.expected);
  return timeoutMs;
}

/** What a call needs of whoever made it. */
export interface CallHost<S> {
  /** Of the endpoint, for messages. */
  readonly label: string;
  /** Last error of dialling, for a call that never found a connection. */
  readonly lastError: Error | undefined;
  release(call: PendingCall<S>): void;
  /** An upgraded server should stop working for it. */
  tellCancelled(call: PendingCall<S>): void;
  noteFailure(error: UnixSocketError): void;
}

/**
 * One request or event of ours, from the caller's `send` to its end. Ends exactly once.
 * @typeParam S the connection it is sent on, as its host knows it
 */
export class PendingCall<S = unknown> implements Expiring, FlushListener, Slotted {
  slot = -1;
  lane: DeadlineLane | undefined;
  previous: Expiring | undefined;
  following: Expiring | undefined;
  expiresAt = 0;
  state: 'waiting' | 'sent' | 'settled' = 'waiting';
  /** Set once by its host, as its number is; kept however often it is sent. */
  id = '';
  number = 0;
  /** The connection it was sent on. */
  session: S | undefined;
  /** Whether any frame of the answer has come. */
  isAnswered = false;
  /** Whether a value of the answer has been handed on. */
  hasDelivered = false;
  /** How often it has been put back to be sent again. */
  repeats = 0;
  /** If it has failed: what its error says of it. */
  failedAs: Delivery | undefined;
  /** Whether an earlier sending was lost, so that it may have run although it waits. */
  mayHaveRun = false;

  constructor(
    private readonly host: CallHost<S>,
    readonly kind: 'request' | 'event',
    readonly type: string,
    readonly payload: Payload,
    readonly timeoutMs: number,
    readonly options: CallOptions,
    private readonly observer: CallObserver,
    /** `performance.now()` when it was made. */
    readonly startedAt: number,
  ) {}

  /** What can be said of it if it ends without an answer. */
  get delivery(): 'notSent' | 'sentNoReply' {
    return this.state === 'waiting' && !this.mayHaveRun ? 'notSent' : 'sentNoReply';
  }

  get isSettled(): boolean {
    return this.state === 'settled';
  }

  next(value: unknown, isPacket: boolean): void {
    if (this.isSettled) return;
    this.hasDelivered = true;
    this.observer.next(value, isPacket);
  }

  complete(): void {
    if (this.isSettled) return;
    this.settle();
    this.observer.complete();
  }

  /** A frame of the answer that tells of no failure, from an upgraded peer. */
  receive({ data, more, end, packet }: MessageBody): void {
    if (end !== true) this.next(data, packet === true);
    if (more !== true) this.complete();
  }

  fail(error: UnixSocketError): void {
    if (this.isSettled) return;
    this.settle();
    // Never "not sent" of a call that was sent before and put back.
    const isSaidNotSent = this.mayHaveRun && error.delivery === 'notSent';
    const truth = isSaidNotSent
      ? new ConnectionLostError(this.host.label, { delivery: 'sentNoReply', cause: error })
      : error;
    this.failedAs = truth.delivery;
    this.host.noteFailure(truth);
    this.observer.error(truth);
  }

  /** Of an event that is all there is to hear. Lost with its connection, it hears of that from its host. */
  onFlushed(error: Error | null | undefined): void {
    if (!error) this.complete();
  }

  /** Ends it without telling the observer, who has gone. */
  abandon(): void {
    if (!this.isSettled) this.settle();
  }

  onExpired(): void {
    const { delivery } = this;
    this.host.tellCancelled(this);
    this.fail(
      new RequestTimeoutError(
        this.type,
        this.timeoutMs,
        delivery,
        this.state === 'waiting' ? this.host.lastError : undefined,
      ),
    );
  }

  private settle(): void {
    this.host.release(this);
    this.state = 'settled';
  }
}
