/**
 * What is known about a call that failed, so that its caller can decide whether to repeat it:
 *
 * - `notSent`: the other side has not started it. Repeating is safe.
 * - `sentNoReply`: it was handed to the socket and no answer came. It may have run.
 * - `replied`: the handler itself answered with an error.
 */
export type Delivery = 'notSent' | 'sentNoReply' | 'replied';

/** What every error constructor of this package accepts beside its own facts. */
export interface UnixSocketErrorOptions {
  /** The error underneath. */
  readonly cause?: unknown;
  /** Set on errors of calls. */
  readonly delivery?: Delivery;
}

/**
 * Root of every error this package raises.
 * `code` is stable API; the message is for people and may be reworded at any time.
 */
export abstract class UnixSocketError extends Error {
  abstract override readonly name: string;
  /** Stable, upper case, for example `REQUEST_TIMEOUT`. Listed in `docs/errors.md`. */
  abstract readonly code: string;
  /** For a failed call: what is known about it. Undefined on errors that no call ended with. */
  readonly delivery: Delivery | undefined;

  constructor(message: string, options: UnixSocketErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.delivery = options.delivery;
  }
}
