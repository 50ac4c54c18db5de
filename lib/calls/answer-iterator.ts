import { Fifo } from '../connection/fifo.js';
import { RequestAbortedError, StreamOverflowError } from '../errors/call.errors.js';
import { InvalidOptionError } from '../errors/option.errors.js';
import { atLeast } from '../options/rules.js';
import type { Payload } from '../protocol/payload.js';
import type { CallIntake, CallObserver, CallOptions, PendingCall } from './pending-call.js';
import { listen, type AnswerTarget, type CallMaker, type RequestOptions } from './request.js';
import { DONE, Takers } from './takers.js';

export interface StreamOptions extends RequestOptions {
  /**
   * Values that may be on their way ahead of the loop, at least 1; the other end makes or sends no more. An end that
   * does not know of this (a peer of another make) sends as it likes.
   * @default 32
   */
  readonly window?: number | undefined;
}

/** Options of a stream that a server asks of a client. */
export type ClientStreamOptions = Omit<StreamOptions, 'idempotent'>;

const DEFAULT_WINDOW = 32;
const WINDOW_RULE = atLeast(1);
/** Values that may wait for the loop if the other end sends as it likes. */
const MOST_UNASKED_VALUES = 10_000;

/**
 * The answer of one call for a `for await` loop. The call is made with the first `next()`, and cancelled when the loop
 * is left. The other end hears how many values it may send, and of more as the loop takes them.
 */
export class AnswerIterator<T = unknown> implements AsyncIterableIterator<T, undefined>, CallIntake {
  readonly window: number;
  isAgreed = false;
  /** Values that may still come. */
  private outstanding: number;
  /** Taken by the loop since the other end heard of it. */
  private taken = 0;
  private readonly values = new Fifo<T>();
  private readonly takers = new Takers<T>();
  private call: PendingCall | undefined;

  /**
   * @param wrap puts something between the answer and the loop
   * @throws InvalidOptionError
   */
  constructor(
    private readonly maker: CallMaker,
    private readonly type: string,
    private readonly payload: Payload,
    private readonly options: StreamOptions & CallOptions,
    private readonly wrap: (target: AnswerTarget) => CallObserver = (target) => target,
  ) {
    const { window = DEFAULT_WINDOW } = options;
    if (!WINDOW_RULE.accepts(window)) throw new InvalidOptionError('window', window, WINDOW_RULE.expected);
    this.window = window;
    this.outstanding = window;
  }

  get isOpen(): boolean {
    return !this.isAgreed || this.outstanding > 0;
  }

  /** Rejects with the error of the call, once. */
  next(): Promise<IteratorResult<T, undefined>> {
    if (this.values.length > 0) {
      const value = this.values.shift() as T;
      this.onTaken();
      return Promise.resolve({ done: false, value });
    }
    const result = this.takers.wait();
    if (!this.takers.isEnded && this.call === undefined) this.begin();
    return result;
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.cancel();
    this.end(undefined);
    this.takers.leave();
    return Promise.resolve(DONE);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  private begin(): void {
    const { signal } = this.options;
    if (signal?.aborted === true) {
      this.end(new RequestAbortedError(this.type, 'notSent', signal.reason));
      return;
    }
    const observer = this.wrap({
      next: (value) => this.onValue(value as T),
      error: (error) => this.end(error),
      complete: () => this.end(undefined),
    });
    try {
      this.call = this.maker.call(this.type, this.payload, { ...this.options, intake: this }, observer);
    } catch (error) {
      this.end(error);
      return;
    }
    if (!this.call.isSettled && signal !== undefined) listen(signal, this.onAbort);
  }

  private onValue(value: T): void {
    if (this.takers.isEnded) return;
    this.outstanding--;
    if (this.takers.give(value)) {
      this.onTaken();
      return;
    }
    // The last value of an answer is asked for by its request.
    const most = this.isAgreed ? this.window + 1 : MOST_UNASKED_VALUES;
    if (this.values.length < most) {
      this.values.push(value);
      return;
    }
    this.cancel();
    this.end(new StreamOverflowError(this.type, `${most} values`));
  }

  /** The loop has one value more. */
  private onTaken(): void {
    this.taken++;
    const { call, taken } = this;
    // Half of what it may have at hand at a time, so that the other end need not wait for each.
    if (call === undefined || call.isSettled || taken * 2 < this.window) return;
    this.taken = 0;
    this.outstanding += taken;
    this.maker.grant(call, taken);
  }

  /** Nobody takes any more: neither what is to come nor what is here. */
  private cancel(): void {
    if (this.call !== undefined) this.maker.cancel(this.call);
    while (this.values.length > 0) this.values.shift();
  }

  private end(error: unknown): void {
    if (this.takers.isEnded) return;
    this.options.signal?.removeEventListener('abort', this.onAbort);
    this.takers.end(error);
  }

  private readonly onAbort = (): void => {
    const delivery = this.call?.delivery ?? 'notSent';
    this.cancel();
    this.end(new RequestAbortedError(this.type, delivery, this.options.signal?.reason));
  };
}

/**
 * One request as the values of its answer, for a `for await` loop: no more are made or sent than the loop has asked for,
 * if the other end is of this package. The call is made with the first `next()`, and cancelled when the loop is left.
 * @throws EncodeError, InvalidOptionError; the errors of a call come from `next()`
 */
export function stream<T = unknown>(
  link: CallMaker,
  type: string,
  data: unknown,
  options: StreamOptions = {},
): AsyncIterableIterator<T, undefined> {
  return new AnswerIterator<T>(link, type, link.encode(data), options);
}
