import { DONE, Takers } from '../calls/takers.js';
import type { PushHandler, PushSubscriptionEvents, ReceivedPush } from './push-subscription.js';

/**
 * Pushes for a `for await` loop: the body of the loop is the handler. What comes meanwhile waits in the subscription's
 * buffer. Subscribes with the first `next()`; ends with the loop, with the client, or with an overflow.
 */
export class PushIterator<T> implements AsyncIterableIterator<T, undefined> {
  private readonly takers = new Takers<T>();
  private unsubscribe: (() => void) | undefined;
  /** Tells the subscription that the loop is through with the latest push. */
  private onTaken: (() => void) | undefined;

  constructor(
    private readonly subscribe: (handler: PushHandler, events: PushSubscriptionEvents) => () => void,
    private readonly select: (push: ReceivedPush) => T,
  ) {}

  next(): Promise<IteratorResult<T, undefined>> {
    const result = this.takers.wait();
    if (this.takers.isEnded) return result;
    this.unsubscribe ??= this.subscribe((_data, push) => this.onPush(push), {
      onEnd: (error) => this.end(error),
    });
    this.onTaken?.();
    return result;
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.unsubscribe?.();
    this.end(undefined);
    this.takers.leave();
    return Promise.resolve(DONE);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  private onPush(push: ReceivedPush): Promise<void> | undefined {
    this.takers.give(this.select(push));
    if (this.takers.length > 0) return undefined;
    return new Promise((resolve) => {
      this.onTaken = resolve;
    });
  }

  private end(error: unknown): void {
    if (this.takers.isEnded) return;
    this.takers.end(error);
    this.onTaken?.();
  }
}
