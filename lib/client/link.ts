import { CallRunner } from '../calls/call-runner.js';
import type { IncomingCall } from '../calls/incoming-call.js';
import type { RequestHandlerFunction } from '../calls/request-handler-registry.js';
import type { CallObserver, CallOptions, PendingCall } from '../calls/pending-call.js';
import { Progress } from '../connection/progress.js';
import { ErrorCounter } from '../connection/stats.js';
import { tell } from '../connection/tell.js';
import { ClientClosedError } from '../errors/call.errors.js';
import {
  ConnectionLostError,
  ConnectTimeoutError,
  ServerGoingAwayError,
} from '../errors/connection.errors.js';
import type { Delivery, UnixSocketError } from '../errors/unix-socket.error.js';
import { resolveLinkOptions, type LinkOptions, type ResolvedLinkOptions } from '../options/client-options.js';
import { endpointLabel } from '../options/endpoint.js';
import { ClientDialects } from '../protocol/dialects.js';
import type { MessageBody } from '../protocol/message-body.js';
import type { Payload } from '../protocol/payload.js';
import type { ResumeNotice, ResumeRequest } from '../protocol/room-positions.js';
import { Calls, type CallRoute } from './calls.js';
import type { LinkCloseReport, LinkEvents, LinkStats } from './link-reports.js';
import { LEGAL_MOVES, type LinkState } from './link-state.js';
import { PushReceiver } from './push-receiver.js';
import type { PushStream } from './push-stream.js';
import { ReadyWaiters } from './ready-waiters.js';
import { Reconnector } from './reconnector.js';
import { Session, type SessionOwner } from './session.js';
import { Sessions } from './sessions.js';

/**
 * The lasting relation to a server: dials, dials again, and carries calls over whatever connection there is.
 * A complete client without Nest; `lib/nest` puts `ClientProxy` on top of it.
 */
export class Link implements SessionOwner, CallRoute {
  readonly options: ResolvedLinkOptions;
  readonly label: string;
  readonly pushes: PushStream;
  lastError: UnixSocketError | undefined;
  isCallable = false;
  readonly runner = new CallRunner<Session>((call) => this.runElsewhere?.(call) === true);

  private readonly calls: Calls;
  private readonly receiver: PushReceiver;
  private readonly dialects: ClientDialects;
  private state: LinkState = 'idle';
  private readonly sessions = new Sessions();
  private readonly readyWaiters = new ReadyWaiters();
  private readonly reconnector: Reconnector;
  private readonly servingErrors = new ErrorCounter();
  private runElsewhere: ((call: IncomingCall<Session>) => boolean) | undefined;
  private closing: Promise<LinkCloseReport> | undefined;
  /** Of closing: every call and connection that ends. */
  private readonly progress = new Progress();

  /** @throws InvalidOptionError, PathTooLongError */
  constructor(
    options: LinkOptions,
    private readonly events: LinkEvents = {},
  ) {
    this.options = resolveLinkOptions(options);
    this.label = endpointLabel(this.options.endpoint);
    this.dialects = new ClientDialects(this.options);
    this.calls = new Calls(this.options, this);
    this.reconnector = new Reconnector(this.options.reconnect, () => this.dial());
    this.receiver = new PushReceiver(this.options, this.events);
    this.pushes = this.receiver.stream;
  }

  get currentState(): LinkState {
    return this.state;
  }

  get isConnected(): boolean {
    return this.state === 'ready';
  }

  get isResting(): boolean {
    return this.state === 'backoff';
  }

  get isClosing(): boolean {
    return this.closing !== undefined;
  }

  get readySession(): Session | undefined {
    return this.state === 'ready' ? this.sessions.current : undefined;
  }

  /**
   * Resolves once connected. Dials if nobody does yet.
   * @throws ConnectError, ConnectTimeoutError after `connectTimeoutMs`; the link goes on trying if it reconnects
   */
  connect(): Promise<void> {
    if (this.state === 'ready') return Promise.resolve();
    if (this.isClosing) return Promise.reject(new ClientClosedError('notSent'));
    const { connectTimeoutMs } = this.options;
    const ready = this.readyWaiters.wait(
      connectTimeoutMs,
      () => this.lastError ?? new ConnectTimeoutError(this.label, connectTimeoutMs),
    );
    this.onWanted();
    return ready;
  }

  /** `data` as the server of the moment, or the next one, may be sent it. @throws EncodeError */
  encode(data: unknown): Payload {
    return this.readySession?.dialect.encode(data) ?? this.dialects.encode(data);
  }

  call(type: string, payload: Payload, options: CallOptions, observer: CallObserver): PendingCall<Session> {
    return this.calls.begin('request', type, payload, options, observer);
  }

  /** Completes once the kernel has the event. */
  emit(type: string, payload: Payload, options: CallOptions, observer: CallObserver): PendingCall<Session> {
    return this.calls.begin('event', type, payload, options, observer);
  }

  /** The caller has gone: nothing more is reported, and an upgraded server stops working for it. */
  cancel(call: PendingCall<Session>): void {
    this.calls.cancel(call);
  }

  /** So many more values of a stream may come. @internal */
  grant(call: PendingCall<Session>, values: number): void {
    this.calls.grant(call, values);
  }

  /** Registers a function for calls of the server, also while connected; the last one for a type wins. */
  handle(type: string, handler: RequestHandlerFunction<never>): this {
    this.runner.handlers.register(type, handler);
    this.takeCalls();
    return this;
  }

  /** From now on the server may call us. @param runElsewhere gets what no function handles. False: nobody does */
  takeCalls(runElsewhere?: (call: IncomingCall<Session>) => boolean): void {
    this.isCallable = true;
    if (runElsewhere !== undefined) this.runElsewhere = runElsewhere;
    this.readySession?.announceCallable();
  }

  startAutoReconnect(): void {
    this.reconnector.isEnabled = true;
    // Only where a connection had been wanted before: a link never used stays at rest.
    if (this.reconnector.connections > 0) this.onWanted();
  }

  /** An established connection stays; once lost, the link rests until the next call. */
  stopAutoReconnect(): void {
    this.reconnector.isEnabled = false;
    if (this.state === 'backoff')
      this.rest(this.lastError ?? new ConnectionLostError(this.label, { delivery: 'notSent' }));
  }

  /** A real round trip to the server. False if there is no connection or no answer in time. */
  healthCheck(timeoutMs: number): Promise<boolean> {
    return this.readySession?.liveness.check(timeoutMs) ?? Promise.resolve(false);
  }

  /**
   * Takes no more calls, waits `drainTimeoutMs` for the answers of those in flight, fails the rest and ends the
   * connection. Idempotent.
   */
  close(): Promise<LinkCloseReport> {
    // Not within this call: whoever hears of the end while it begins may ask for it too, or make calls.
    this.closing ??= Promise.resolve().then(() => this.shut());
    return this.closing;
  }

  getStats(): LinkStats {
    const { calls, reconnector } = this;
    return Object.freeze({
      state: this.state,
      attempts: reconnector.attempts,
      reconnects: Math.max(0, reconnector.connections - 1),
      pending: calls.pendingCount,
      waiting: calls.waitingCount,
      repeated: calls.repeatedCount,
      sent: calls.sentCount,
      received: calls.receivedCount,
      errorsByCode: this.servingErrors.snapshot(),
      handlerLatencyMs: this.runner.latency.summary(),
      timeouts: calls.timeoutCount,
      failuresByCode: calls.failures.snapshot(),
      roundTripMs: calls.roundTrips.summary(),
      ...this.receiver.stats(),
      ...this.sessions.stats(),
    });
  }

  onReady(session: Session): void {
    this.lastError = undefined;
    this.reconnector.onReady();
    this.moveTo('ready');
    this.readyWaiters.resolveAll();
    tell(() => this.events.onConnect?.());
    this.calls.onReady(session);
  }

  onResponse(session: Session, body: MessageBody): void {
    this.calls.onResponse(session, body);
  }

  onPush(session: Session, body: MessageBody, bytes: number): void {
    this.receiver.onPush(session, body, bytes);
  }

  onServed(session: Session): void {
    this.onSessionIdle(session);
    this.onProgress();
  }

  onServingError(code: string): void {
    this.servingErrors.add(code);
  }

  resumeRequest(session: Session): ResumeRequest | undefined {
    return this.receiver.resumeRequest(session);
  }

  onResumeNotice(session: Session, notice: ResumeNotice): boolean {
    return this.receiver.onResumeNotice(session, notice);
  }

  onNotice(session: Session, code: string | undefined, text: string): void {
    tell(() => this.events.onNotice?.(code, text));
    if (code === 'GOING_AWAY') this.retire(session);
  }

  onClosed(session: Session, error: UnixSocketError): void {
    const isCurrent = this.sessions.remove(session);
    const lost = this.calls.inFlightOn(session);
    let delayMs: number | undefined;
    if (isCurrent) {
      this.lastError = error;
      // The state first: whoever is told of the failure may call again at once.
      if (!this.isClosing) delayMs = this.afterLoss(session.isReady, error);
    }
    for (const call of lost) this.calls.onLost(call, error);
    if (isCurrent && session.isReady) {
      const reason = this.isClosing ? new ClientClosedError('sentNoReply') : error;
      tell(() => this.events.onDisconnect?.(reason));
    }
    if (delayMs !== undefined)
      tell(() => this.events.onRetry?.(this.reconnector.attempts + 1, delayMs, error));
    this.onProgress();
  }

  onWanted(): void {
    if (this.state === 'idle') this.dial();
  }

  /** New calls go to a new connection, those in flight end on this one. */
  retire(session: Session): void {
    if (session !== this.readySession) return;
    this.sessions.retire(session);
    if (this.reconnector.isEnabled) this.dial();
    else this.moveTo('idle');
    tell(() => this.events.onDisconnect?.(new ServerGoingAwayError(this.label)));
    this.sessions.endIfDone(session);
  }

  onSessionIdle(session: Session): void {
    this.sessions.endIfDone(session);
  }

  onProgress(): void {
    this.progress.onStep?.();
  }

  private dial(): void {
    this.reconnector.attempts++;
    this.moveTo('connecting');
    this.sessions.current = new Session(this.options, this.dialects, this);
  }

  /** Returns the delay before the next attempt; undefined if there will be none for now. */
  private afterLoss(wasReady: boolean, error: UnixSocketError): number | undefined {
    const delayMs = this.reconnector.plan(wasReady);
    if (delayMs === undefined) {
      this.rest(error);
      return undefined;
    }
    this.moveTo('backoff');
    if (this.options.offline === 'fail') this.calls.failWaiting(error);
    // Whoever was told of the state may have stopped it.
    return this.isResting ? delayMs : undefined;
  }

  /** No more attempts for now: everybody who waits for a connection hears why. */
  private rest(error: UnixSocketError): void {
    this.reconnector.rest();
    this.moveTo('idle');
    this.calls.failWaiting(error);
    this.readyWaiters.rejectAll(error);
  }

  private async shut(): Promise<LinkCloseReport> {
    this.reconnector.stop();
    this.moveTo('draining');
    const open = this.calls.open();
    this.calls.failWaiting(new ClientClosedError('notSent'));
    this.readyWaiters.rejectAll(new ClientClosedError('notSent'));
    if (this.sessions.current?.isReady === false) this.sessions.current.end();
    const isDone = (): boolean =>
      this.calls.pendingCount === 0 && this.sessions.all().every((session) => session.isServingNothing);
    await this.progress.until(isDone, this.options.drainTimeoutMs);
    this.calls.failPending();
    let cancelled = 0;
    for (const session of this.sessions.all())
      cancelled += session.served?.cancelAll(new ClientClosedError('sentNoReply')) ?? 0;
    this.moveTo('closed');
    this.pushes.close();
    this.sessions.end();
    await this.progress.until(() => this.sessions.isEmpty);
    this.calls.close();
    this.runner.close();
    const countOf = (delivery: Delivery): number => open.filter((call) => call.failedAs === delivery).length;
    return Object.freeze({ unanswered: countOf('sentNoReply'), notSent: countOf('notSent'), cancelled });
  }

  private moveTo(to: LinkState): void {
    const from = this.state;
    if (!LEGAL_MOVES[from].includes(to)) throw new Error(`Illegal move of a link from ${from} to ${to}`);
    this.state = to;
    tell(() => this.events.onState?.(to, from));
  }
}
