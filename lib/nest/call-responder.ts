import { RpcException } from '@nestjs/microservices';
import { isObservable, type Observable, type Observer, type Subscription } from 'rxjs';
import type { IncomingCall } from '../calls/incoming-call.js';
import { isAsyncIterable, StreamPuller, type StreamSink } from '../calls/stream-puller.js';
import { failureFromPayload, payloadOf } from './call-failure.js';

/** How results leave; the fast way hands them on, the other runs them through a custom serializer first. */
export interface ReplyWriter {
  next(call: IncomingCall, value: unknown): void;
  /** The only value, and the end. */
  respond(call: IncomingCall, value: unknown): void;
  complete(call: IncomingCall): void;
  fail(call: IncomingCall, payload: unknown): void;
}

/** An event handler's values go nowhere; a caller that sent a request is told when it is through. */
export const eventReplies: ReplyWriter = {
  next: () => undefined,
  respond: (call) => call.respond(null),
  complete: (call) => call.respond(null),
  fail: (call, payload) => call.fail(failureFromPayload(payload)),
};

/** Values as they are. */
export const plainReplies: ReplyWriter = {
  next: (call, value) => call.next(value),
  respond: (call, value) => call.respond(value),
  complete: (call) => call.complete(),
  fail: (call, payload) => call.fail(failureFromPayload(payload)),
};

const NOTHING = Symbol('nothing');

/**
 * Turns what a Nest handler returned into the answer of one call. One value is held back until it is known whether
 * another follows in the same turn: with an interceptor every single value comes as an Observable, and it
 * should still be a single frame.
 */
export class CallResponder implements Observer<unknown> {
  private held: unknown = NOTHING;
  private isStream = false;
  private isReleasePlanned = false;
  private subscription: Subscription | undefined;

  constructor(
    private readonly call: IncomingCall,
    private readonly replies: ReplyWriter,
    /** Gets an error that passed none of Nest's filters. */
    private readonly onUnexpected: (error: unknown) => void,
    /** Runs once, when the handler is through. */
    private onDone: (() => void) | undefined,
  ) {}

  /** @param result what the handler returned: a value, an Observable or async iterable, or a promise of any */
  settle(result: unknown): void {
    if (!(result instanceof Promise)) this.onResult(result);
    else
      result.then(
        (value) => this.onResult(value),
        (error) => this.onRejection(error),
      );
  }

  next(value: unknown): void {
    if (this.held !== NOTHING) this.release();
    this.held = value;
    if (this.isReleasePlanned) return;
    this.isReleasePlanned = true;
    queueMicrotask(() => this.releasePlanned());
  }

  error(payload: unknown): void {
    if (this.held !== NOTHING) this.release();
    this.replies.fail(this.call, payload);
    this.done();
  }

  complete(): void {
    const { held } = this;
    this.held = NOTHING;
    if (held === NOTHING || (held === undefined && !this.isStream)) {
      this.replies.complete(this.call);
    } else if (isAsyncIterable(held) && !this.isStream) {
      // An interceptor has put it into an Observable.
      this.pull(held);
      return;
    } else if (this.isStream) {
      this.replies.next(this.call, held);
      this.replies.complete(this.call);
    } else {
      this.replies.respond(this.call, held);
    }
    this.done();
  }

  private onResult(result: unknown): void {
    if (isObservable(result)) {
      this.subscribe(result);
    } else if (isAsyncIterable(result)) {
      this.pull(result);
    } else {
      if (result === undefined) this.replies.complete(this.call);
      else this.replies.respond(this.call, result);
      this.done();
    }
  }

  private onRejection(error: unknown): void {
    // Nest's own handlers never reject, so this error passed no filter and its text is not for the caller.
    this.onUnexpected(error);
    this.replies.fail(this.call, undefined);
    this.done();
  }

  private subscribe(result: Observable<unknown>): void {
    if (this.call.isSettled) {
      this.done();
      return;
    }
    this.subscription = result.subscribe(this);
    if (!this.subscription.closed) {
      this.call.onTeardown(() => {
        this.held = NOTHING;
        this.subscription?.unsubscribe();
        this.done();
      });
    }
  }

  private pull(source: AsyncIterable<unknown>): void {
    const { call, replies } = this;
    const sink: StreamSink = {
      next: (value) => replies.next(call, value),
      complete: () => {
        replies.complete(call);
        this.done();
      },
      error: (error) => {
        // Nest's filters saw the source only, so an error of its own is taken as Nest takes one that no filter took.
        if (!(error instanceof RpcException)) this.onUnexpected(error);
        replies.fail(call, payloadOf(error));
        this.done();
      },
      onStopped: () => this.done(),
    };
    new StreamPuller(call, source, sink).start();
  }

  private release(): void {
    this.isStream = true;
    const { held } = this;
    this.held = NOTHING;
    this.replies.next(this.call, held);
  }

  private done(): void {
    const { onDone } = this;
    this.onDone = undefined;
    onDone?.();
  }

  private releasePlanned(): void {
    this.isReleasePlanned = false;
    if (this.held !== NOTHING) this.release();
  }
}
