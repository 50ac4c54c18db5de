import { CallRunner } from '../calls/call-runner.js';
import type { IncomingCall } from '../calls/incoming-call.js';
import type { RequestHandlerFunction } from '../calls/request-handler-registry.js';
import type { CallObserver, CallOptions, PendingCall } from '../calls/pending-call.js';
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
import { readMeta } from '../protocol/guards.js';
import { readPayload, type MessageBody } from '../protocol/message-body.js';
import type { Payload } from '../protocol/payload.js';
import { readSeq, type ResumeNotice, type ResumeRequest } from '../protocol/room-positions.js';
import { BackoffStrategy } from './backoff.js';
import { Calls, type CallRoute } from './calls.js';
import type { LinkCloseReport, LinkEvents, LinkStats } from './link-reports.js';
import { LEGAL_MOVES, type LinkState } from './link-state.js';
import { PushPositions, type PushGap } from './push-positions.js';
import { acknowledgement } from './acknowledge.js';
import { PushStream } from './push-stream.js';
import { ReadyWaiters } from './ready-waiters.js';
import { Session, type SessionOwner } from './session.js';

/** A link counts as stable, and its backoff starts anew, once it was ready for so long. */
const STABLE_AFTER_MS = 5_000;
/** Room for the rest of `hello`. */
const HELLO_BYTES = 900;

/**
 * The lasting relation to a server: dials, dials again, and carries calls over whatever connection there is.
 * A complete client without Nest; `lib/nest` puts `ClientProxy` on top of it.
 */
export class Link implements SessionOwner, CallRoute {
  readonly options: ResolvedLinkOptions;
  readonly label: string;
  readonly pushes: PushStream;
  private readonly positions = new PushPositions((gap) => this.onGap(gap));
  lastError: UnixSocketError | undefined;
  isCallable = false;
  readonly runner = new CallRunner<Session>((call) => this.runElsewhere?.(call) === true);

  private readonly calls: Calls;
  private readonly dialects: ClientDialects;
  private state: LinkState = 'idle';
  /** The connection that calls go to; while connecting, the one being made. */
  private session: Session | undefined;
  /** Connections to servers that are going away, kept until what is in flight on them is answered. */
  private readonly retired = new Set<Session>();
  private readonly readyWaiters = new ReadyWaiters();
  private readonly backoff: BackoffStrategy;
  private backoffTimer: NodeJS.Timeout | undefined;
  private isReconnecting: boolean;
  private readyAt = 0;
  private attempts = 0;
  private connections = 0;
  private pushCount = 0;
  private hasToldOfDrops = false;
  private gapCount = 0;
  private readonly servingErrors = new ErrorCounter();
  private runElsewhere: ((call: IncomingCall<Session>) => boolean) | undefined;
  /** Of connections that have ended. */
  private pastBytesSent = 0;
  private pastBytesReceived = 0;
  private closing: Promise<LinkCloseReport> | undefined;
  /** Set by close(): looks again whenever a call or connection ends. */
  private onStep: (() => void) | undefined;

  /** @throws InvalidOptionError, PathTooLongError */
  constructor(
    options: LinkOptions,
    private readonly events: LinkEvents = {},
  ) {
    this.options = resolveLinkOptions(options);
    this.label = endpointLabel(this.options.endpoint);
    this.dialects = new ClientDialects(this.options);
    this.calls = new Calls(this.options, this);
    this.isReconnecting = this.options.reconnect.enabled;
    this.backoff = new BackoffStrategy({ ...this.options.reconnect, jitter: 'full' });
    this.pushes = new PushStream(
      this.options.maxQueuedPushes,
      (error, push) => tell(() => this.events.onPushHandlerError?.(error, push)),
      () => {
        if (this.hasToldOfDrops) return;
        this.hasToldOfDrops = true;
        tell(() => this.events.onPushesDropped?.());
      },
    );
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
    return this.state === 'ready' ? this.session : undefined;
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
    this.isReconnecting = true;
    // Only where a connection had been wanted before: a link never used stays at rest.
    if (this.connections > 0) this.onWanted();
  }

  /** An established connection stays; once lost, the link rests until the next call. */
  stopAutoReconnect(): void {
    this.isReconnecting = false;
    if (this.state !== 'backoff') return;
    clearTimeout(this.backoffTimer);
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
    const { session, calls } = this;
    return Object.freeze({
      state: this.state,
      attempts: this.attempts,
      reconnects: Math.max(0, this.connections - 1),
      pending: calls.pendingCount,
      waiting: calls.waitingCount,
      repeated: calls.repeatedCount,
      sent: calls.sentCount,
      received: calls.receivedCount,
      pushesReceived: this.pushCount,
      pushesDropped: this.pushes.dropped,
      pushesFailed: this.pushes.failed,
      pushGaps: this.gapCount,
      inFlight: this.sum((one) => one.served?.runningCount ?? 0),
      queued: this.sum((one) => one.served?.waitingCount ?? 0),
      errorsByCode: this.servingErrors.snapshot(),
      handlerLatencyMs: this.runner.latency.summary(),
      timeouts: calls.timeoutCount,
      failuresByCode: calls.failures.snapshot(),
      bytesSent: this.pastBytesSent + (session?.bytesSent ?? 0),
      bytesReceived: this.pastBytesReceived + (session?.bytesReceived ?? 0),
      queuedBytes: session?.queuedBytes ?? 0,
      lastRoundTripMs: session?.liveness.lastRoundTripMs,
      roundTripMs: calls.roundTrips.summary(),
      accountId: session?.greeting?.accountId,
      connectionId: session?.greeting?.connectionId,
      protocolVersion: session?.dialect.version,
      isUpgraded: session?.isUpgraded ?? false,
    });
  }

  onReady(session: Session): void {
    this.lastError = undefined;
    this.attempts = 0;
    this.connections++;
    this.readyAt = performance.now();
    this.moveTo('ready');
    this.readyWaiters.resolveAll();
    tell(() => this.events.onConnect?.());
    this.calls.onReady(session);
  }

  onResponse(session: Session, body: MessageBody): void {
    this.calls.onResponse(session, body);
  }

  onPush(session: Session, body: MessageBody, bytes: number): void {
    const seq = body.seq === undefined ? undefined : readSeq(body.seq);
    if (!this.positions.admit(session, seq)) return;
    this.pushCount++;
    const { type, data } = readPayload(body.data);
    const push = {
      type: typeof type === 'string' ? type : 'unknown',
      data,
      meta: body.meta === undefined ? undefined : readMeta(body.meta),
      seq,
    };
    const { maxSendQueueBytes } = this.options;
    const onSettled =
      body.ack === true ? acknowledgement(session, body, bytes, maxSendQueueBytes) : undefined;
    this.pushes.deliver(push, onSettled);
  }

  onServed(session: Session): void {
    this.onSessionIdle(session);
    this.onProgress();
  }

  onServingError(code: string): void {
    this.servingErrors.add(code);
  }

  resumeRequest(session: Session): ResumeRequest | undefined {
    const canResume = session.greeting?.caps?.includes('resume') === true;
    return this.positions.begin(session, canResume, session.maxFrameBytes - HELLO_BYTES);
  }

  onResumeNotice(session: Session, notice: ResumeNotice): boolean {
    return this.positions.onNotice(session, notice);
  }

  onNotice(session: Session, code: string | undefined, text: string): void {
    tell(() => this.events.onNotice?.(code, text));
    if (code === 'GOING_AWAY') this.retire(session);
  }

  onClosed(session: Session, error: UnixSocketError): void {
    this.pastBytesSent += session.bytesSent;
    this.pastBytesReceived += session.bytesReceived;
    const isCurrent = session === this.session;
    const lost = this.calls.inFlightOn(session);
    let delayMs: number | undefined;
    if (isCurrent) {
      this.session = undefined;
      this.lastError = error;
      // The state first: whoever is told of the failure may call again at once.
      if (!this.isClosing) delayMs = this.afterLoss(session.isReady, error);
    } else {
      this.retired.delete(session);
    }
    for (const call of lost) this.calls.onLost(call, error);
    if (isCurrent && session.isReady) {
      const reason = this.isClosing ? new ClientClosedError('sentNoReply') : error;
      tell(() => this.events.onDisconnect?.(reason));
    }
    if (delayMs !== undefined) tell(() => this.events.onRetry?.(this.attempts + 1, delayMs, error));
    this.onProgress();
  }

  onWanted(): void {
    if (this.state === 'idle') this.dial();
  }

  /** New calls go to a new connection, those in flight end on this one. */
  retire(session: Session): void {
    if (session !== this.session || this.state !== 'ready') return;
    this.retired.add(session);
    if (this.isReconnecting) {
      this.dial();
    } else {
      this.session = undefined;
      this.moveTo('idle');
    }
    tell(() => this.events.onDisconnect?.(new ServerGoingAwayError(this.label)));
    if (session.isIdle) session.end();
  }

  onSessionIdle(session: Session): void {
    if (session.isIdle && this.retired.has(session)) session.end();
  }

  onProgress(): void {
    this.onStep?.();
  }

  private onGap(gap: PushGap): void {
    this.gapCount++;
    tell(() => this.events.onGap?.(gap));
  }

  /** The connections there are. */
  private sessions(): Session[] {
    return this.session === undefined ? [...this.retired] : [this.session, ...this.retired];
  }

  private sum(value: (session: Session) => number): number {
    return this.sessions().reduce((total, session) => total + value(session), 0);
  }

  private dial(): void {
    this.attempts++;
    this.moveTo('connecting');
    this.session = new Session(this.options, this.dialects, this);
  }

  /** Returns the delay before the next attempt; undefined if there will be none for now. */
  private afterLoss(wasReady: boolean, error: UnixSocketError): number | undefined {
    if (wasReady && performance.now() - this.readyAt >= STABLE_AFTER_MS) this.backoff.reset();
    const { offline, reconnect } = this.options;
    const isLastAttempt = reconnect.maxAttempts > 0 && this.attempts >= reconnect.maxAttempts;
    if (!this.isReconnecting || isLastAttempt) {
      this.rest(error);
      return undefined;
    }
    const delayMs = this.backoff.getDelay();
    this.moveTo('backoff');
    this.backoffTimer = setTimeout(() => this.dial(), delayMs);
    if (offline === 'fail') this.calls.failWaiting(error);
    return delayMs;
  }

  /** No more attempts for now: everybody who waits for a connection hears why. */
  private rest(error: UnixSocketError): void {
    this.attempts = 0;
    this.backoff.reset();
    this.moveTo('idle');
    this.calls.failWaiting(error);
    this.readyWaiters.rejectAll(error);
  }

  private async shut(): Promise<LinkCloseReport> {
    clearTimeout(this.backoffTimer);
    this.moveTo('draining');
    const open = this.calls.open();
    this.calls.failWaiting(new ClientClosedError('notSent'));
    this.readyWaiters.rejectAll(new ClientClosedError('notSent'));
    if (this.session?.isReady === false) this.session.end();
    const isDone = (): boolean =>
      this.calls.pendingCount === 0 && this.sessions().every((session) => session.isServingNothing);
    await this.until(isDone, this.options.drainTimeoutMs);
    this.calls.failPending();
    let cancelled = 0;
    for (const session of this.sessions())
      cancelled += session.served?.cancelAll(new ClientClosedError('sentNoReply')) ?? 0;
    this.moveTo('closed');
    this.pushes.close();
    this.session?.end();
    for (const session of this.retired) session.end();
    await this.until(() => this.session === undefined && this.retired.size === 0, undefined);
    this.calls.close();
    this.runner.close();
    const countOf = (delivery: Delivery): number => open.filter((call) => call.failedAs === delivery).length;
    return Object.freeze({ unanswered: countOf('sentNoReply'), notSent: countOf('notSent'), cancelled });
  }

  /** Resolves once `isReached`, or after `timeoutMs`. */
  private until(isReached: () => boolean, timeoutMs: number | undefined): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.onStep = undefined;
        resolve();
      };
      const timer = timeoutMs === undefined ? undefined : setTimeout(done, timeoutMs);
      this.onStep = () => {
        if (isReached()) done();
      };
      this.onStep();
    });
  }

  private moveTo(to: LinkState): void {
    const from = this.state;
    if (!LEGAL_MOVES[from].includes(to)) throw new Error(`Illegal move of a link from ${from} to ${to}`);
    this.state = to;
    tell(() => this.events.onState?.(to, from));
  }
}
