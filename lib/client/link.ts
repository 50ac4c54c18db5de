import { randomBytes } from 'node:crypto';
import { Slots } from '../connection/slots.js';
import { ErrorCounter, LatencyRecorder } from '../connection/stats.js';
import { Deadlines } from '../connection/deadlines.js';
import { ClientClosedError, NotConnectedError, RefusedError } from '../errors/call.errors.js';
import {
  ConnectionLostError,
  ConnectTimeoutError,
  SendQueueFullError,
  ServerGoingAwayError,
} from '../errors/connection.errors.js';
import type { UnixSocketError } from '../errors/unix-socket.error.js';
import { resolveLinkOptions, type LinkOptions, type ResolvedLinkOptions } from '../options/client-options.js';
import { endpointLabel } from '../options/endpoint.js';
import { encodeNotice, encodePush, encodeRequest, extra } from '../protocol/envelope.js';
import { readMeta } from '../protocol/guards.js';
import { readPayload, type MessageBody } from '../protocol/message-body.js';
import { BackoffStrategy } from './backoff.js';
import type { LinkCloseReport, LinkEvents, LinkStats } from './link-reports.js';
import { LEGAL_MOVES, type LinkState } from './link-state.js';
import { PendingCall, type CallHost, type CallObserver, type CallOptions } from './pending-call.js';
import { OfflineQueue } from './offline-queue.js';
import { PushStream } from './push-stream.js';
import { ReadyWaiters } from './ready-waiters.js';
import { remoteError } from './remote-error.js';
import { Session, type SessionOwner } from './session.js';

/** A link counts as stable, and its backoff starts anew, once it was ready for so long. */
const STABLE_AFTER_MS = 5_000;

/**
 * The lasting relation to a server: dials, dials again, and carries calls over whatever connection there is.
 * A complete client without Nest; `lib/nest` puts `ClientProxy` on top of it.
 */
export class Link implements SessionOwner, CallHost {
  readonly options: ResolvedLinkOptions;
  readonly label: string;
  readonly pushes: PushStream;
  lastError: UnixSocketError | undefined;

  private state: LinkState = 'idle';
  /** The connection that calls go to; while connecting, the one being made. */
  private session: Session | undefined;
  /** Connections to servers that are going away, kept until what is in flight on them is answered. */
  private readonly retired = new Set<Session>();
  /** Every call that has not ended; its place is part of its id, so that an answer finds it without a look-up table. */
  private readonly calls = new Slots<PendingCall>();
  private pendingCount = 0;
  private readonly waiting: OfflineQueue;
  private readonly readyWaiters = new ReadyWaiters();
  private readonly deadlines = new Deadlines();
  private readonly backoff: BackoffStrategy;
  private backoffTimer: NodeJS.Timeout | undefined;
  private isReconnecting: boolean;
  private closing: Promise<LinkCloseReport> | undefined;
  /** Set by close(): hears of every call and connection that ends. */
  private onProgress: (() => void) | undefined;

  /** Random once, so that ids of two clients or of a restarted one never collide. */
  private readonly idPrefix = `${randomBytes(6).toString('hex')}-`;
  private idCount = 0;
  private readyAt = 0;
  private attempts = 0;
  private connections = 0;
  private sentCount = 0;
  private receivedCount = 0;
  private pushCount = 0;
  private timeouts = 0;
  private repeatedCount = 0;
  private pastBytesSent = 0;
  private pastBytesReceived = 0;
  private readonly failures = new ErrorCounter();
  private readonly roundTrips = new LatencyRecorder();

  /** @throws InvalidOptionError, PathTooLongError */
  constructor(
    options: LinkOptions,
    private readonly events: LinkEvents = {},
  ) {
    this.options = resolveLinkOptions(options);
    this.label = endpointLabel(this.options.endpoint);
    this.waiting = new OfflineQueue(this.options, this.label);
    this.isReconnecting = this.options.reconnect.enabled;
    this.backoff = new BackoffStrategy({ ...this.options.reconnect, jitter: 'full' });
    this.pushes = new PushStream(
      this.options.maxQueuedPushes,
      (error, push) => this.events.onPushHandlerError?.(error, push),
      () => {
        if (this.pushes.dropped === 1) this.events.onPushesDropped?.();
      },
    );
  }

  get currentState(): LinkState {
    return this.state;
  }

  get isConnected(): boolean {
    return this.state === 'ready';
  }

  /** The connection there is, if it is ready. */
  get readySession(): Session | undefined {
    return this.state === 'ready' ? this.session : undefined;
  }

  /**
   * Resolves once connected. Dials if nobody does yet.
   * @throws ConnectError, ConnectTimeoutError after `connectTimeoutMs`; the link goes on trying if it reconnects
   */
  connect(): Promise<void> {
    if (this.state === 'ready') return Promise.resolve();
    if (this.closing !== undefined) return Promise.reject(new ClientClosedError('notSent'));
    const { connectTimeoutMs } = this.options;
    const ready = this.readyWaiters.wait(
      connectTimeoutMs,
      () => this.lastError ?? new ConnectTimeoutError(this.label, connectTimeoutMs),
    );
    if (this.state === 'idle') this.dial();
    return ready;
  }

  /** @param json the data, encoded */
  call(type: string, json: string, options: CallOptions, observer: CallObserver): PendingCall {
    return this.begin('request', type, json, options, observer);
  }

  /** Completes once the kernel has the event. @param json the data, encoded */
  emit(type: string, json: string, options: CallOptions, observer: CallObserver): PendingCall {
    return this.begin('event', type, json, options, observer);
  }

  /** The caller has gone: nothing more is reported, and an upgraded server stops working for it. */
  cancel(call: PendingCall): void {
    if (call.isSettled) return;
    this.tellCancelled(call);
    call.abandon();
  }

  startAutoReconnect(): void {
    this.isReconnecting = true;
    // Only where a connection had been wanted before: a link never used stays at rest.
    if (this.state === 'idle' && this.connections > 0) this.dial();
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
    const session = this.readySession;
    if (session === undefined) return Promise.resolve(false);
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), timeoutMs);
      session.ping(() => {
        clearTimeout(timer);
        resolve(true);
      });
    });
  }

  /**
   * Takes no more calls, waits `drainTimeoutMs` for the answers of those in flight, fails the rest and ends the
   * connection. Idempotent.
   */
  close(): Promise<LinkCloseReport> {
    this.closing ??= this.shut();
    return this.closing;
  }

  getStats(): LinkStats {
    const { session, state } = this;
    return Object.freeze({
      state,
      attempts: this.attempts,
      reconnects: Math.max(0, this.connections - 1),
      pending: this.pendingCount,
      waiting: this.waiting.size,
      repeated: this.repeatedCount,
      sent: this.sentCount,
      received: this.receivedCount,
      pushesReceived: this.pushCount,
      pushesDropped: this.pushes.dropped,
      timeouts: this.timeouts,
      failuresByCode: this.failures.snapshot(),
      bytesSent: this.pastBytesSent + (session?.bytesSent ?? 0),
      bytesReceived: this.pastBytesReceived + (session?.bytesReceived ?? 0),
      queuedBytes: session?.queuedBytes ?? 0,
      lastRoundTripMs: session?.lastRoundTripMs,
      roundTripMs: this.roundTrips.summary(),
      accountId: session?.greeting?.accountId,
      connectionId: session?.greeting?.connectionId,
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
    this.events.onConnect?.();
    for (const call of this.waiting.takeAll()) {
      // What is sent may end the connection, and a call may end those behind it.
      if (this.session !== session) this.waiting.add(call);
      else if (!call.isSettled) this.transmit(session, call);
    }
  }

  onResponse(session: Session, body: MessageBody): void {
    const call = this.pendingById(body.request_id as string);
    // Late, second and unknown answers are ignored.
    if (call === undefined) return;
    this.receivedCount++;
    if (!call.isAnswered) {
      call.isAnswered = true;
      this.roundTrips.record(performance.now() - call.startedAt);
    }
    if (body.error) {
      const error = remoteError(body);
      if (error instanceof RefusedError && error.code === 'DRAINING')
        this.onDrainingRefusal(session, call, error);
      else call.fail(error);
    } else if (!session.isUpgraded) {
      call.next(body.data, false);
      call.complete();
    } else if (body.more === true) {
      this.restartDeadline(call);
      call.next(body.data, body.packet === true);
    } else {
      if (body.end !== true) call.next(body.data, body.packet === true);
      call.complete();
    }
  }

  onPush(body: MessageBody): void {
    this.pushCount++;
    const { type, data } = readPayload(body.data);
    this.pushes.deliver({
      type: typeof type === 'string' ? type : 'unknown',
      data,
      meta: body.meta === undefined ? undefined : readMeta(body.meta),
    });
  }

  onNotice(session: Session, code: string | undefined, text: string): void {
    this.events.onNotice?.(code, text);
    if (code === 'GOING_AWAY') this.retire(session);
  }

  onClosed(session: Session, error: UnixSocketError): void {
    this.pastBytesSent += session.bytesSent;
    this.pastBytesReceived += session.bytesReceived;
    const isCurrent = session === this.session;
    const lost = this.calls.toArray().filter((call) => call.session === session);
    if (isCurrent) this.session = undefined;
    else this.retired.delete(session);
    // The state first: whoever is told of the failure may call again at once.
    if (isCurrent && this.closing === undefined) this.afterLoss(session.isReady, error);
    for (const call of lost) this.onCallLost(call, error);
    if (isCurrent && session.isReady) this.events.onDisconnect?.(error);
    this.onProgress?.();
  }

  release(call: PendingCall): void {
    this.deadlines.remove(call);
    this.calls.remove(call);
    if (call.state === 'waiting') this.waiting.remove(call);
    else this.forget(call);
    this.onProgress?.();
  }

  tellCancelled(call: PendingCall): void {
    const { session, state, kind } = call;
    if (state === 'sent' && kind === 'request' && session?.isUpgraded === true) {
      session.send(encodeNotice(call.id, 'cancelled', undefined));
    }
  }

  noteFailure(error: UnixSocketError): void {
    this.failures.add(error.code);
    if (error.code === 'REQUEST_TIMEOUT') this.timeouts++;
  }

  private begin(
    kind: 'request' | 'event',
    type: string,
    json: string,
    options: CallOptions,
    observer: CallObserver,
  ): PendingCall {
    const timeoutMs = options.timeoutMs ?? this.options.requestTimeoutMs;
    const now = performance.now();
    const call = new PendingCall(this, kind, type, json, timeoutMs, options, observer, now);
    call.id = `${this.idPrefix}${++this.idCount}-${this.calls.add(call)}`;
    if (this.closing !== undefined) {
      call.fail(new ClientClosedError('notSent'));
      return call;
    }
    this.deadlines.add(call, timeoutMs, now);
    if (this.state === 'ready') this.transmit(this.session as Session, call);
    else this.wait(call);
    return call;
  }

  private pendingById(id: string): PendingCall | undefined {
    const call = this.calls.get(Number(id.slice(id.lastIndexOf('-') + 1)));
    return call !== undefined && call.id === id && call.state === 'sent' ? call : undefined;
  }

  /** There is no connection: the call waits for one, or ends, as `offline` says. */
  private wait(call: PendingCall): void {
    const refusal = this.waiting.refusal(call, this.state === 'backoff', this.lastError);
    if (refusal !== undefined) {
      call.fail(refusal);
      return;
    }
    this.waiting.add(call);
    if (this.state === 'idle') this.dial();
  }

  private transmit(session: Session, call: PendingCall): void {
    const { maxSendQueueBytes } = this.options;
    if (session.queuedBytes > maxSendQueueBytes) {
      call.fail(new SendQueueFullError(session.queuedBytes, maxSendQueueBytes));
      return;
    }
    const { id, type, json } = call;
    const extras = this.extras(session, call);
    const asPush = call.kind === 'event' && this.sendsEventsAsPush(session);
    try {
      const frame = (asPush ? encodePush : encodeRequest)(id, type, json, extras, session.maxFrameBytes);
      call.state = 'sent';
      call.session = session;
      session.inFlight++;
      this.sentCount++;
      this.pendingCount++;
      if (!asPush && !session.isUpgraded) session.unanswered.add(id);
      session.send(
        frame,
        call.kind === 'event' ? (error) => this.onEventFlushed(session, call, error) : undefined,
      );
    } catch (error) {
      call.fail(error as UnixSocketError);
    }
  }

  private extras(session: Session, call: PendingCall): string {
    const { meta, isPacket, timeoutMs } = call.options;
    if (meta === undefined && isPacket === undefined && timeoutMs === undefined) return '';
    const deadlineMs =
      timeoutMs && session.isUpgraded
        ? Math.max(0, Math.ceil(call.expiresAt - performance.now()))
        : undefined;
    return (
      extra('meta', meta) + (isPacket === true ? ',"packet":true' : '') + extra('deadline_ms', deadlineMs)
    );
  }

  /** Its answer will not come on this connection any more; `call` is no longer pending. */
  private forget(call: PendingCall): void {
    const { session } = call;
    if (session === undefined) return;
    call.session = undefined;
    this.pendingCount--;
    session.inFlight--;
    if (this.retired.has(session)) this.endIfDone(session);
  }

  private onCallLost(call: PendingCall, cause: UnixSocketError): void {
    if (call.isSettled) return;
    if (call.options.idempotent === true && this.repeat(call, true)) return;
    call.fail(new ConnectionLostError(this.label, { delivery: 'sentNoReply', cause }));
  }

  /** A server that is going away did not start the call, so it may be sent to the next one whatever it does. */
  private onDrainingRefusal(session: Session, call: PendingCall, error: RefusedError): void {
    this.retire(session);
    if (!this.repeat(call, false)) call.fail(error);
  }

  /** False if the call may not be sent again: too often, or part of its answer has been handed on. */
  private repeat(call: PendingCall, mayHaveRun: boolean): boolean {
    if (this.closing !== undefined || call.repeats >= this.options.maxRepeats || call.hasDelivered)
      return false;
    this.forget(call);
    call.repeats++;
    call.mayHaveRun ||= mayHaveRun;
    call.isAnswered = false;
    call.state = 'waiting';
    this.repeatedCount++;
    if (this.state === 'ready') this.transmit(this.session as Session, call);
    else this.wait(call);
    return true;
  }

  /** The server of this connection is going away: new calls go to a new connection, those in flight end on this one. */
  private retire(session: Session): void {
    if (session !== this.session || this.state !== 'ready') return;
    this.retired.add(session);
    if (this.isReconnecting) {
      this.dial();
    } else {
      this.session = undefined;
      this.moveTo('idle');
    }
    this.events.onDisconnect?.(new ServerGoingAwayError(this.label));
    this.endIfDone(session);
  }

  private endIfDone(session: Session): void {
    if (session.inFlight === 0) session.end();
  }

  private onEventFlushed(session: Session, call: PendingCall, error: Error | null | undefined): void {
    // Lost with its connection, and perhaps on its way again on another one.
    if (call.session !== session) return;
    if (error) this.onCallLost(call, new ConnectionLostError(this.label, { cause: error }));
    else call.complete();
  }

  private sendsEventsAsPush(session: Session): boolean {
    const { eventsAs } = this.options;
    // A plain server ignores pushes.
    return eventsAs === 'auto' ? session.isUpgraded : eventsAs === 'push';
  }

  private restartDeadline(call: PendingCall): void {
    // An explicit time limit bounds the whole call.
    if (call.options.timeoutMs !== undefined) return;
    this.deadlines.remove(call);
    this.deadlines.add(call, this.options.idleTimeoutMs, performance.now());
  }

  private dial(): void {
    this.attempts++;
    this.moveTo('connecting');
    this.session = new Session(this.options, this);
  }

  private afterLoss(wasReady: boolean, error: UnixSocketError): void {
    if (wasReady && performance.now() - this.readyAt >= STABLE_AFTER_MS) this.backoff.reset();
    const { maxAttempts } = this.options.reconnect;
    if (this.options.offline === 'fail') this.failWaiting(error);
    if (!this.isReconnecting || (maxAttempts > 0 && this.attempts >= maxAttempts)) {
      this.rest(error);
      return;
    }
    const delayMs = this.backoff.getDelay();
    this.moveTo('backoff');
    this.backoffTimer = setTimeout(() => this.dial(), delayMs);
    this.events.onRetry?.(this.attempts + 1, delayMs, error);
  }

  /** No more attempts for now: everybody who waits for a connection hears why. */
  private rest(error: UnixSocketError): void {
    this.attempts = 0;
    this.backoff.reset();
    this.moveTo('idle');
    this.failWaiting(error);
  }

  private failWaiting(error: UnixSocketError): number {
    const calls = this.waiting.takeAll();
    const reason = error.delivery === 'notSent' ? error : new NotConnectedError(this.label, error);
    for (const call of calls) call.fail(reason);
    this.readyWaiters.rejectAll(error);
    return calls.length;
  }

  private async shut(): Promise<LinkCloseReport> {
    clearTimeout(this.backoffTimer);
    this.moveTo('draining');
    const notSent = this.failWaiting(new ClientClosedError('notSent'));
    if (this.session?.isReady === false) this.session.end();
    if (this.pendingCount > 0)
      await this.progress(() => this.pendingCount === 0, this.options.drainTimeoutMs);
    const unanswered = this.calls.toArray();
    for (const call of unanswered) {
      this.tellCancelled(call);
      call.fail(new ClientClosedError('sentNoReply'));
    }
    this.moveTo('closed');
    this.session?.end();
    for (const session of this.retired) session.end();
    await this.progress(() => this.session === undefined && this.retired.size === 0, Infinity);
    return Object.freeze({ unanswered: unanswered.length, notSent });
  }

  /** Resolves once `isReached`, or after `timeoutMs`. */
  private progress(isReached: () => boolean, timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = Number.isFinite(timeoutMs) ? setTimeout(() => done(), timeoutMs) : undefined;
      const done = (): void => {
        clearTimeout(timer);
        this.onProgress = undefined;
        resolve();
      };
      this.onProgress = () => {
        if (isReached()) done();
      };
      this.onProgress();
    });
  }

  private moveTo(to: LinkState): void {
    const from = this.state;
    if (!LEGAL_MOVES[from].includes(to)) throw new Error(`Illegal move of a link from ${from} to ${to}`);
    this.state = to;
    this.events.onState?.(to, from);
  }
}
