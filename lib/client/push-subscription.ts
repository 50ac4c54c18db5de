import type { RoomPosition } from '../protocol/room-positions.js';
import { PushOverflowError } from '../errors/push.errors.js';
import type { PushSettings } from '../options/push-options.js';
import type { HandlingTally } from './push-handling.js';
import { Fifo } from '../connection/fifo.js';

/** A push as it arrived. */
export interface ReceivedPush {
  readonly type: string;
  readonly data: unknown;
  readonly meta: Readonly<Record<string, string>> | undefined;
  /** Its number in each kept room it went to. */
  readonly seq?: readonly RoomPosition[] | undefined;
}

/** May be async: its next push is handled once the promise has settled. */
export type PushHandler = (data: unknown, push: ReceivedPush) => unknown;

/** What a subscription tells whoever made it. */
export interface PushSubscriptionEvents {
  /** The handler threw or rejected. Without it the stream's own listener is told. */
  onError?(error: unknown, push: ReceivedPush): void;
  /** Once, last, and not if it was ended by its own subscriber. With the error, after an overflow. */
  onEnd?(error: PushOverflowError | undefined): void;
}

/** What a subscription tells its stream. */
export interface PushSubscriptionOwner {
  onHandlerError(error: unknown, push: ReceivedPush, events: PushSubscriptionEvents): void;
  /** @param isReplaced by a newer value, as was asked for */
  onDropped(isReplaced: boolean): void;
  onOverflow(subscription: PushSubscription, error: PushOverflowError, push: ReceivedPush): void;
}

interface WaitingPush {
  push: ReceivedPush;
  tally: HandlingTally | undefined;
  readonly key: string | undefined;
}

/** One handler and the pushes that wait for it. Slow ones hold up themselves alone. */
export class PushSubscription {
  private readonly waiting = new Fifo<WaitingPush>();
  private readonly byKey = new Map<string, WaitingPush>();
  private isBusy = false;
  private isEnded = false;

  constructor(
    private readonly handler: PushHandler,
    private readonly settings: PushSettings,
    readonly events: PushSubscriptionEvents,
    private readonly owner: PushSubscriptionOwner,
  ) {}

  /** Handles the push now, or once the earlier ones are through. */
  offer(push: ReceivedPush, tally: HandlingTally | undefined): void {
    if (this.isEnded) {
      tally?.onDropped();
    } else if (this.isBusy) {
      this.enqueue(push, tally);
    } else {
      this.handle(push, tally);
      this.pump();
    }
  }

  /** Nothing is handled any more; a handler that runs goes on. */
  end(): void {
    this.isEnded = true;
    this.byKey.clear();
    for (let next = this.waiting.shift(); next !== undefined; next = this.waiting.shift()) this.drop(next);
  }

  private enqueue(push: ReceivedPush, tally: HandlingTally | undefined): void {
    const { bufferSize, overflow } = this.settings;
    let key: string | undefined;
    if (overflow === 'latest') {
      try {
        key = this.keyOf(push);
      } catch (error) {
        this.owner.onHandlerError(error, push, this.events);
        tally?.onHandled([error]);
        return;
      }
      const older = this.byKey.get(key);
      if (older !== undefined) {
        this.drop(older, true);
        older.push = push;
        older.tally = tally;
        return;
      }
    }
    const entry: WaitingPush = { push, tally, key };
    if (this.waiting.length >= bufferSize && !this.makeRoom(entry)) return;
    this.waiting.push(entry);
    if (key !== undefined) this.byKey.set(key, entry);
  }

  /** False if it is `entry` that has to go. */
  private makeRoom(entry: WaitingPush): boolean {
    const { bufferSize, overflow } = this.settings;
    if (overflow === 'dropNewest' || overflow === 'error') {
      this.drop(entry);
      if (overflow === 'error')
        this.owner.onOverflow(this, new PushOverflowError(entry.push.type, bufferSize), entry.push);
      return false;
    }
    this.drop(this.take() as WaitingPush);
    return true;
  }

  private take(): WaitingPush | undefined {
    const entry = this.waiting.shift();
    if (entry?.key !== undefined) this.byKey.delete(entry.key);
    return entry;
  }

  private drop({ tally }: WaitingPush, isReplaced = false): void {
    this.owner.onDropped(isReplaced);
    tally?.onDropped();
  }

  private pump(): void {
    while (!this.isBusy) {
      const next = this.take();
      if (next === undefined) return;
      this.handle(next.push, next.tally);
    }
  }

  private handle(push: ReceivedPush, tally: HandlingTally | undefined): void {
    // What arrives within the handler waits until it is through.
    this.isBusy = true;
    let result: unknown;
    try {
      result = this.handler(push.data, push);
    } catch (error) {
      this.onFailed(error, push, tally);
      return;
    }
    if (!isThenable(result)) {
      this.onHandled(tally);
      return;
    }
    // Free and going on in one turn: nothing that comes meanwhile may overtake those that wait.
    void Promise.resolve(result).then(
      () => {
        this.onHandled(tally);
        this.pump();
      },
      (error: unknown) => {
        this.onFailed(error, push, tally);
        this.pump();
      },
    );
  }

  private onFailed(error: unknown, push: ReceivedPush, tally: HandlingTally | undefined): void {
    this.owner.onHandlerError(error, push, this.events);
    this.onHandled(tally, [error]);
  }

  private onHandled(tally: HandlingTally | undefined, errors?: readonly unknown[]): void {
    tally?.onHandled(errors);
    this.isBusy = false;
  }

  private keyOf({ data, type }: ReceivedPush): string {
    const { key } = this.settings;
    // Of its type alone there may be several, behind a wildcard.
    return JSON.stringify([type, key === undefined ? '' : String(key(data as never, type))]);
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
  );
}
