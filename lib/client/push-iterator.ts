import type { PushHandler, PushSubscriptionEvents, ReceivedPush } from './push-subscription.js';

interface Taker<T> {
  resolve(result: IteratorResult<T, undefined>): void;
  reject(error: unknown): void;
}

/**
 * Pushes for a `for await` loop: the body of the loop is the handler. What comes meanwhile waits in the subscription's
 * buffer. Subscribes with the first `next()`; ends with the loop, with the client, or with an overflow.
 */
export class PushIterator<T> implements AsyncIterableIterator<T, undefined> {
  private takers: Taker<T>[] = [];
  private unsubscribe: (() => void) | undefined;
  /** Tells the subscription that the loop is through with the latest push. */
  private onTaken: (() => void) | undefined;
  private ended: { readonly error: unknown } | undefined;

  constructor(
    private readonly subscribe: (handler: PushHandler, events: PushSubscriptionEvents) => () => void,
    private readonly select: (push: ReceivedPush) => T,
  ) {}

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.ended !== undefined) {
      const { error } = this.ended;
      this.ended = { error: undefined };
      return error === undefined ? Promise.resolve(DONE) : Promise.reject(error as Error);
    }
    return new Promise((resolve, reject) => {
      this.takers.push({ resolve, reject });
      this.unsubscribe ??= this.subscribe((_data, push) => this.onPush(push), {
        onEnd: (error) => this.end(error),
      });
      this.onTaken?.();
    });
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.unsubscribe?.();
    this.end(undefined);
    return Promise.resolve(DONE);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  private onPush(push: ReceivedPush): Promise<void> | undefined {
    this.takers.shift()?.resolve({ done: false, value: this.select(push) });
    if (this.takers.length > 0) return undefined;
    return new Promise((resolve) => {
      this.onTaken = resolve;
    });
  }

  private end(error: unknown): void {
    if (this.ended !== undefined) return;
    const { takers } = this;
    this.takers = [];
    // Whoever waits is told, and otherwise whoever asks next.
    const [first, ...others] = takers;
    this.ended = { error: first === undefined ? error : undefined };
    if (error === undefined) first?.resolve(DONE);
    else first?.reject(error);
    for (const taker of others) taker.resolve(DONE);
    this.onTaken?.();
  }
}

const DONE = { done: true, value: undefined } as const;
