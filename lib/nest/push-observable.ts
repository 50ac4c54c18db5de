import { Observable } from 'rxjs';
import type { PushFilter, PushStream } from '../client/push-stream.js';
import type { ReceivedPush } from '../client/push-subscription.js';
import { resolvePushOptions, type PushSubscriptionOptions } from '../options/push-options.js';

/**
 * Pushes as an Observable, and for `for await`. Each subscription and each loop is by itself. Observables hand values
 * on at once, so nothing waits here for their subscribers, and operators such as `concatMap` buffer without bound;
 * a loop takes its time, and what comes meanwhile waits in a buffer with a bound. Completes when the client is closed.
 */
export class PushObservable<T> extends Observable<T> implements AsyncIterable<T, undefined> {
  /** @throws InvalidOptionError */
  constructor(
    private readonly stream: PushStream,
    private readonly filter: PushFilter,
    private readonly options: PushSubscriptionOptions | undefined,
    private readonly select: (push: ReceivedPush) => T,
  ) {
    super((subscriber) =>
      stream.subscribe(filter, (_data, push) => subscriber.next(select(push)), options, {
        onEnd: (error) => (error === undefined ? subscriber.complete() : subscriber.error(error)),
      }),
    );
    resolvePushOptions(options, 1);
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<T, undefined> {
    return this.stream.iterate(this.filter, this.options, this.select);
  }
}
