import { tell } from '../connection/tell.js';
import type { PushOverflowError } from '../errors/push.errors.js';
import { resolvePushOptions, type PushSubscriptionOptions } from '../options/push-options.js';
import { HandlingTally, type PushHandling } from './push-handling.js';
import { PushIterator } from './push-iterator.js';
import {
  PushSubscription,
  type PushHandler,
  type PushSubscriptionEvents,
  type PushSubscriptionOwner,
  type ReceivedPush,
} from './push-subscription.js';
import { wildcardMatcher } from './push-wildcards.js';

/** Which pushes a subscription is for: those of one type, those whose type fits, or undefined for all. */
export type PushFilter = string | ((type: string) => boolean) | undefined;

interface Matching {
  readonly matches: (type: string) => boolean;
  readonly subscription: PushSubscription;
}

const NONE: readonly PushSubscription[] = [];

/**
 * Hands pushes to their subscriptions beside the reading of the socket: a handler may await a request on the same
 * connection. Each subscription gets its pushes one after the other, in the order they came, and has a bounded
 * buffer of its own: whoever is too slow delays and costs nobody else.
 */
export class PushStream implements PushSubscriptionOwner {
  /** Pushes that did not reach a subscription that they were for. */
  dropped = 0;
  /** Handlers that threw or rejected. */
  failed = 0;
  // Never changed in place: who subscribes within a handler is not for the push that is being handed out.
  private readonly byType = new Map<string, readonly PushSubscription[]>();
  private matching: readonly Matching[] = [];
  private forAll: readonly PushSubscription[] = NONE;
  private isClosed = false;

  constructor(
    private readonly maxQueued: number,
    private readonly onError: (error: unknown, push: ReceivedPush) => void,
    private readonly onLost: () => void,
  ) {}

  /**
   * Returns the function that ends the subscription. After `close()` it ends at once.
   * @throws InvalidOptionError
   */
  subscribe(
    filter: PushFilter,
    handler: PushHandler,
    options?: PushSubscriptionOptions,
    events: PushSubscriptionEvents = {},
  ): () => void {
    const settings = resolvePushOptions(options, this.maxQueued);
    const chosen = settings.wildcards && typeof filter === 'string' ? wildcardMatcher(filter) : filter;
    const subscription = new PushSubscription(handler, settings, events, this);
    if (this.isClosed) {
      subscription.end();
      events.onEnd?.(undefined);
      return () => undefined;
    }
    if (chosen === undefined) this.forAll = [...this.forAll, subscription];
    else if (typeof chosen === 'function')
      this.matching = [...this.matching, { matches: chosen, subscription }];
    else this.byType.set(chosen, [...(this.byType.get(chosen) ?? NONE), subscription]);
    return () => this.end(subscription);
  }

  /** For a `for await` loop. @throws InvalidOptionError */
  iterate<T = ReceivedPush>(
    filter: PushFilter,
    options?: PushSubscriptionOptions,
    select = (push: ReceivedPush): T => push as T,
  ): AsyncIterableIterator<T, undefined> {
    resolvePushOptions(options, this.maxQueued);
    return new PushIterator((handler, events) => this.subscribe(filter, handler, options, events), select);
  }

  /** @param onSettled told once every handler of the push is through; at once, if there is none */
  deliver(push: ReceivedPush, onSettled?: (handling: PushHandling) => void): void {
    const subscriptions = this.subscriptionsTo(push.type);
    const tally = onSettled === undefined ? undefined : new HandlingTally(subscriptions.length, onSettled);
    for (const subscription of subscriptions) subscription.offer(push, tally);
  }

  /** Ends every subscription; what waits for them is dropped. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    const all = [
      ...[...this.byType.values()].flat(),
      ...this.matching.map(({ subscription }) => subscription),
      ...this.forAll,
    ];
    for (const subscription of all) {
      this.end(subscription);
      tell(() => subscription.events.onEnd?.(undefined));
    }
  }

  onHandlerError(error: unknown, push: ReceivedPush, events: PushSubscriptionEvents): void {
    this.failed++;
    if (events.onError === undefined) this.onError(error, push);
    else tell(() => events.onError?.(error, push));
  }

  onDropped(isReplaced: boolean): void {
    this.dropped++;
    if (!isReplaced && !this.isClosed) this.onLost();
  }

  onOverflow(subscription: PushSubscription, error: PushOverflowError, push: ReceivedPush): void {
    this.end(subscription);
    const { events } = subscription;
    if (events.onEnd === undefined) this.onHandlerError(error, push, events);
    else tell(() => events.onEnd?.(error));
  }

  private subscriptionsTo(type: string): readonly PushSubscription[] {
    const typed = this.byType.get(type) ?? NONE;
    if (this.matching.length === 0 && this.forAll.length === 0) return typed;
    const matching = this.matching.filter(({ matches }) => matches(type));
    return [...typed, ...matching.map(({ subscription }) => subscription), ...this.forAll];
  }

  private end(ended: PushSubscription): void {
    ended.end();
    const isOther = (subscription: PushSubscription): boolean => subscription !== ended;
    for (const [type, subscriptions] of this.byType) {
      if (!subscriptions.includes(ended)) continue;
      const others = subscriptions.filter(isOther);
      if (others.length > 0) this.byType.set(type, others);
      else this.byType.delete(type);
    }
    this.matching = this.matching.filter(({ subscription }) => isOther(subscription));
    this.forAll = this.forAll.filter(isOther);
  }
}
