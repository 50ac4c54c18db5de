import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { Logger } from '@nestjs/common';
import {
  ClientProxy,
  type ProducerDeserializer,
  type ProducerSerializer,
  type ReadPacket,
  type TcpClientOptions,
  type WritePacket,
} from '@nestjs/microservices';
import { Observable, type Observer } from 'rxjs';
import { HandlerFailure } from '../calls/handler-failure.js';
import type { RequestHandlerFunction } from '../calls/request-handler-registry.js';
import { Link } from '../client/link.js';
import type { LinkCloseReport, LinkStats } from '../client/link-reports.js';
import type { LinkState } from '../client/link-state.js';
import type { PushFilter } from '../client/push-stream.js';
import type { PushHandler, PushSubscriptionEvents, ReceivedPush } from '../client/push-subscription.js';
import { AnswerIterator, type StreamOptions } from '../calls/answer-iterator.js';
import { requestPayload, type RequestOptions } from '../calls/request.js';
import type { LinkOptions } from '../options/client-options.js';
import type { PushSubscriptionOptions } from '../options/push-options.js';
import { UnixSocketClientHandlers } from './unix-socket.client-handlers.js';
import { AnswerObserver } from './answer-observer.js';
import { EventOutcome } from './event-outcome.js';
import { unexploredClasses } from './decorators/handler-metadata.js';
import { OutgoingCalls, withOptions, type DispatchHook, type OutgoingCall } from './outgoing-calls.js';
import { pushFilter } from './push-filter.js';
import { PushObservable } from './push-observable.js';
import { UnixSocketClientStatus, type UnixSocketClientEvents } from './unix-socket.events.js';
import { UnixSocketRecord } from './unix-socket.record-builder.js';

/** Options of {@link UnixSocketClientProxy}: where it connects, its limits, and Nest's serializers. */
export interface UnixSocketClientOptions extends LinkOptions {
  /** Tells its handlers from those of other clients in the same app: see {@link OnRequest}. @default '' */
  readonly name?: string | undefined;
  /** Connects as soon as it is made, instead of on `connect()` or the first call. @default false */
  readonly eager?: boolean | undefined;
  /** Sees every request and event as Nest's packet. Takes the slower path. */
  readonly serializer?: ProducerSerializer | undefined;
  /** Sees every answer as Nest's packet. Takes the slower path. */
  readonly deserializer?: ProducerDeserializer | undefined;
}

const STATUS_OF: Readonly<Record<LinkState, UnixSocketClientStatus>> = {
  idle: UnixSocketClientStatus.Disconnected,
  connecting: UnixSocketClientStatus.Connecting,
  ready: UnixSocketClientStatus.Connected,
  backoff: UnixSocketClientStatus.Reconnecting,
  draining: UnixSocketClientStatus.Draining,
  closed: UnixSocketClientStatus.Disconnected,
};

const DEFAULT_HEALTH_TIMEOUT_MS = 3_000;

/**
 * Nest's client for this transport. Connects on the first call, reconnects by itself, and fails no call without
 * saying what happened to it.
 * @example
 * ClientsModule.register([{ name: 'WORKER', customClass: UnixSocketClientProxy, options: { path: '/run/app/app.sock' } }])
 */
export class UnixSocketClientProxy extends ClientProxy<UnixSocketClientEvents> {
  /** Set once the decorated handlers of the app have been looked for. @internal */
  isExplored = false;
  protected readonly logger = new Logger(UnixSocketClientProxy.name);
  private readonly link: Link;
  private strategy: UnixSocketClientHandlers | undefined;
  private readonly clientName: string | undefined;
  private readonly emitter = new EventEmitter();
  private readonly outgoing: OutgoingCalls;
  private readonly hasDeserializer: boolean;

  /** @throws InvalidOptionError, PathTooLongError */
  constructor(options: UnixSocketClientOptions) {
    super();
    // Nest's types list its own transports only.
    const { serializer, deserializer, name } = options ?? {};
    this.clientName = name;
    const packetOptions = { serializer, deserializer } as NonNullable<TcpClientOptions['options']>;
    this.initializeSerializer(packetOptions);
    this.initializeDeserializer(packetOptions);
    this.hasDeserializer = deserializer !== undefined;
    this.link = new Link(options, {
      onState: (state) => this._status$.next(STATUS_OF[state]),
      onConnect: () => {
        this.logger.debug(`Connected to ${this.link.label}`);
        this.emitter.emit('connect');
      },
      onDisconnect: (error) => {
        if (this.link.currentState !== 'closed') this.logger.warn(error.message);
        this.emitter.emit('disconnect', error);
      },
      onRetry: (attempt, delayMs, error) => {
        // Once for each time it goes away, not for each attempt.
        if (attempt === 2) this.logger.warn(`${error.message} Trying again until it works.`);
        this.emitter.emit('reconnecting', attempt, delayMs, error);
      },
      onPushHandlerError: (error, push) => {
        // The others have been logged where more is known of them.
        if (!(error instanceof HandlerFailure))
          this.logger.error(error, `The handler of the push "${push.type}" failed`);
      },
      onPushesDropped: () =>
        this.logger.warn('A handler of pushes is too slow; pushes are dropped. Said once for each client.'),
      onGap: (gap) => {
        this.logger.debug(`Pushes of the room "${gap.room}" are missing, from number ${gap.from}`);
        this.emitter.emit('gap', gap);
      },
      onNotice: (code, text) => this.logger.debug(`${this.link.label} says: ${text} (${code ?? 'no code'})`),
    });
    const custom = serializer === undefined ? undefined : this.serializer;
    this.outgoing = new OutgoingCalls((data) => this.link.encode(data), custom);
    this._status$.next(UnixSocketClientStatus.Disconnected);
    if (options?.eager === true) this.connectInBackground();
  }

  /** Called by Nest. */
  onApplicationBootstrap(): void {
    const classes = this.isExplored ? [] : unexploredClasses();
    if (classes.length === 0) return;
    this.logger.error(
      `Nothing looks for the handlers of ${classes.join(', ')}: import UnixSocketModule.forClient() into the app, ` +
        'with clients or without.',
    );
  }

  /** Connects without anybody who waits for it; a failure is logged, and tried again. @internal */
  connectInBackground(): void {
    this.link.connect().catch((error: Error) => this.logger.debug(error.message));
  }

  /**
   * Resolves once connected; also done by the first call.
   * @throws ConnectError, ConnectTimeoutError after `connectTimeoutMs`; it goes on trying if it reconnects
   */
  connect(): Promise<void> {
    return this.link.connect();
  }

  /** Each change of the connection's state, beginning with the present one. */
  override get status(): Observable<UnixSocketClientStatus> {
    return super.status as Observable<UnixSocketClientStatus>;
  }

  /**
   * Takes no more calls, waits `drainTimeoutMs` for answers, fails the rest, ends the connection. Idempotent.
   * Tells what was not delivered.
   */
  close(): Promise<LinkCloseReport> {
    return this.link.close();
  }

  override on<E extends keyof UnixSocketClientEvents>(event: E, listener: UnixSocketClientEvents[E]): void {
    // Not before somebody listens: whoever asks for an acknowledgement is told if nobody handles a push.
    if (event === 'push' && this.emitter.listenerCount('push') === 0)
      this.link.pushes.subscribe(undefined, (_data, push) => void this.emitter.emit('push', push));
    this.emitter.on(event, listener);
  }

  /**
   * Lets controllers answer calls of the server: a strategy for `app.connectMicroservice`. Once it listens the client
   * connects, and the server hears that it takes calls; once it closes the client does.
   */
  get handlers(): UnixSocketClientHandlers {
    this.strategy ??= new UnixSocketClientHandlers(this, this.link, this.clientName);
    return this.strategy;
  }

  /**
   * Registers a function for calls of the server, also while connected. It comes before a controller with the same
   * pattern; the last one wins. Its errors reach the server with their own text.
   */
  handle(type: string, handler: RequestHandlerFunction<never>): this {
    this.link.handle(type, handler);
    return this;
  }

  /** The `net.Socket` of the connection there is; it emits no `data`. @throws Error while there is none */
  unwrap<T = Socket>(): T {
    const session = this.link.readySession;
    if (session === undefined) throw new Error('Not connected. Await connect() before unwrap().');
    return session.stream as T;
  }

  /**
   * A request; each subscription makes one call, and unsubscribing cancels it. `data` may be null, not undefined.
   * Errors are `UnixSocketError`s with their `delivery`.
   */
  override send<TResult = any, TInput = any>(pattern: any, data: TInput): Observable<TResult> {
    if (pattern === undefined || pattern === null || data === undefined)
      return super.send(pattern, undefined as TInput);
    return new Observable((subscriber) => {
      const link = this.link;
      try {
        const { type, payload, options } = this.prepare('request', pattern, data);
        const call = link.call(type, payload, options, this.answersTo(subscriber));
        return () => link.cancel(call);
      } catch (error) {
        subscriber.error(error);
        return undefined;
      }
    });
  }

  /**
   * An event, sent at once whether or not anybody subscribes. Completes once the kernel has it, or, with a record's
   * `setAck()`, once its handlers have finished; errors if it could not be sent, or with the error of its handlers.
   */
  override emit<TResult = any, TInput = any>(pattern: any, data: TInput): Observable<TResult> {
    if (pattern === undefined || pattern === null || data === undefined)
      return super.emit(pattern, undefined as TInput);
    const outcome = new EventOutcome<TResult>();
    try {
      const { type, payload, options } = this.prepare('event', pattern, data);
      // An acknowledged event is a request: its handlers run as those of any event, and the answer is null.
      const transmit = data instanceof UnixSocketRecord && data.options.ack === true ? 'call' : 'emit';
      this.link[transmit](type, payload, options, outcome);
    } catch (error) {
      outcome.error(error);
    }
    return outcome;
  }

  /**
   * A request as a promise; of a stream, the last value.
   * @throws what `send` errors with, and RequestAbortedError
   */
  async request<T = unknown>(
    pattern: string | object,
    data: unknown,
    options: RequestOptions = {},
  ): Promise<T> {
    const { type, payload, options: merged } = withOptions(this.prepare('request', pattern, data), options);
    return (await requestPayload(this.link, type, payload, merged, (answer) => this.answersTo(answer))) as T;
  }

  /**
   * A request as the values of its answer, for a `for await` loop: a server of this package makes and sends no more than
   * the loop has asked for. The call is made with the first `next()`, and cancelled when the loop is left.
   * @throws EncodeError, InvalidOptionError; what `send` errors with, and RequestAbortedError, come from `next()`
   */
  stream<T = unknown>(
    pattern: string | object,
    data: unknown,
    options: StreamOptions = {},
  ): AsyncIterableIterator<T, undefined> {
    const { type, payload, options: merged } = withOptions(this.prepare('request', pattern, data), options);
    return new AnswerIterator<T>(this.link, type, payload, merged, (answer) => this.answersTo(answer));
  }

  /**
   * Pushes of one type, or of all types as `{ type, data }`; an Observable that also goes into `for await`.
   * @throws InvalidOptionError
   */
  pushes<T = unknown>(pattern: string | object, options?: PushSubscriptionOptions): PushObservable<T>;
  pushes(pattern?: undefined, options?: PushSubscriptionOptions): PushObservable<ReceivedPush>;
  pushes(pattern?: string | object, options?: PushSubscriptionOptions): PushObservable<unknown> {
    const select = (push: ReceivedPush): unknown => (pattern === undefined ? push : push.data);
    return new PushObservable(this.link.pushes, this.filterOf(pattern), options, select);
  }

  /**
   * Calls `handler` for each push of a type, or that fits an object pattern, one after the other; it may be async and
   * may make requests. Returns the function that ends the subscription.
   * @throws InvalidOptionError
   */
  onPush(
    pattern: string | object,
    handler: PushHandler,
    options?: PushSubscriptionOptions,
    events?: PushSubscriptionEvents,
  ): () => void {
    return this.link.pushes.subscribe(this.filterOf(pattern), handler, options, events);
  }

  /** A real round trip to the server. False if there is no connection or no answer in time. */
  healthCheck(timeoutMs = DEFAULT_HEALTH_TIMEOUT_MS): Promise<boolean> {
    return this.link.healthCheck(timeoutMs);
  }

  isConnected(): boolean {
    return this.link.isConnected;
  }

  getStats(): LinkStats {
    return this.link.getStats();
  }

  startAutoReconnect(): void {
    this.link.startAutoReconnect();
  }

  /** An established connection stays; once lost, nothing dials until the next call. */
  stopAutoReconnect(): void {
    this.link.stopAutoReconnect();
  }

  /** For Nest's base class; `send` does not come this way. */
  protected publish(packet: ReadPacket, callback: (packet: WritePacket) => void): () => void {
    const subscription = this.send(packet.pattern, packet.data).subscribe({
      next: (response: unknown) => callback({ response }),
      error: (err: unknown) => callback({ err, isDisposed: true }),
      complete: () => callback({ isDisposed: true }),
    });
    return () => subscription.unsubscribe();
  }

  /** For Nest's base class; `emit` does not come this way. */
  protected dispatchEvent<T = unknown>(packet: ReadPacket): Promise<T> {
    return new Promise((resolve, reject) => {
      this.emit<T>(packet.pattern, packet.data).subscribe({ next: resolve, error: reject });
    });
  }

  private answersTo<T>(observer: Observer<T>): AnswerObserver<T> {
    return new AnswerObserver(observer, this.deserializer, this.hasDeserializer);
  }

  private typeOf(pattern: unknown): string {
    return typeof pattern === 'string' ? pattern : this.normalizePattern(pattern as never);
  }

  private filterOf(pattern: string | object | undefined): PushFilter {
    return pushFilter(pattern, (object) => this.typeOf(object));
  }

  private prepare(kind: 'request' | 'event', pattern: unknown, input: unknown): OutgoingCall {
    // Read each time: applications may set it at any.
    const { onDispatchHook } = this as unknown as { onDispatchHook?: DispatchHook };
    return this.outgoing.prepare(kind, this.typeOf(pattern), pattern, input, onDispatchHook);
  }
}
