import { randomBytes } from 'node:crypto';
import {
  callTimeoutMs,
  creditExtra,
  PendingCall,
  type CallHost,
  type CallObserver,
  type CallOptions,
} from '../calls/pending-call.js';
import { PendingCalls } from '../calls/pending-calls.js';
import { remoteError } from '../calls/remote-error.js';
import { Deadlines } from '../connection/deadlines.js';
import { ErrorCounter, LatencyRecorder } from '../connection/stats.js';
import { ClientClosedError, NotConnectedError, RefusedError } from '../errors/call.errors.js';
import { ConnectionLostError, SendQueueFullError } from '../errors/connection.errors.js';
import type { UnixSocketError } from '../errors/unix-socket.error.js';
import type { ResolvedLinkOptions } from '../options/client-options.js';
import { extra } from '../protocol/envelope.js';
import type { MessageBody } from '../protocol/message-body.js';
import type { Payload } from '../protocol/payload.js';
import { OfflineQueue } from './offline-queue.js';
import type { Session } from './session.js';

/** What the calls need of the link they go over. */
export interface CallRoute {
  /** Of the endpoint, for messages. */
  readonly label: string;
  /** The connection there is, if it is ready. */
  readonly readySession: Session | undefined;
  /** Between two attempts to connect. */
  readonly isResting: boolean;
  readonly isClosing: boolean;
  /** Of the last attempt to connect. */
  readonly lastError: Error | undefined;
  /** A call waits: there should be a connection. */
  onWanted(): void;
  /** The server of this connection is going away. */
  retire(session: Session): void;
  /** Nothing is in flight on this connection any more. */
  onSessionIdle(session: Session): void;
  /** A call has ended. */
  onProgress(): void;
}

/**
 * The calls of one link, from the caller's `send` to their end: waiting for a connection, in flight on one, lost
 * with it, perhaps sent again. Each ends exactly once.
 */
export class Calls implements CallHost<Session> {
  sentCount = 0;
  receivedCount = 0;
  repeatedCount = 0;
  timeoutCount = 0;
  /** Sent and not answered. */
  pendingCount = 0;
  readonly failures = new ErrorCounter();
  readonly roundTrips = new LatencyRecorder();

  /** Every call that has not ended. Its prefix is random, so that ids of two clients or of a restarted one never collide. */
  private readonly all = new PendingCalls<Session>(`${randomBytes(6).toString('hex')}-`);
  private readonly waiting: OfflineQueue;
  private readonly deadlines = new Deadlines();

  constructor(
    private readonly options: ResolvedLinkOptions,
    private readonly route: CallRoute,
  ) {
    this.waiting = new OfflineQueue(options, route.label);
  }

  get label(): string {
    return this.route.label;
  }

  get lastError(): Error | undefined {
    return this.route.lastError;
  }

  get waitingCount(): number {
    return this.waiting.size;
  }

  /** @throws InvalidOptionError */
  begin(
    kind: 'request' | 'event',
    type: string,
    payload: Payload,
    options: CallOptions,
    observer: CallObserver,
  ): PendingCall<Session> {
    const timeoutMs = callTimeoutMs(options, this.options.requestTimeoutMs);
    const now = performance.now();
    const call = new PendingCall<Session>(this, kind, type, payload, timeoutMs, options, observer, now);
    this.all.add(call);
    if (this.route.isClosing) {
      call.fail(new ClientClosedError('notSent'));
    } else {
      this.deadlines.add(call, timeoutMs, now);
      this.dispatch(call);
    }
    return call;
  }

  /** The caller has gone: nothing more is reported, and an upgraded server stops working for it. */
  cancel(call: PendingCall<Session>): void {
    if (call.isSettled) return;
    this.tellCancelled(call);
    call.abandon();
  }

  /** So many more values of a stream may come. */
  grant(call: PendingCall<Session>, values: number): void {
    const { session } = call;
    if (session === undefined || call.isSettled) return;
    if (session.takesCredit) session.sayCredit(call.id, values);
    this.restartDeadline(call);
  }

  /** Sends what has waited. */
  onReady(session: Session): void {
    // Whoever hears that a call has failed may close the link, or end those behind it, or make more.
    for (const call of this.waiting) {
      if (this.route.readySession !== session) return;
      this.waiting.remove(call);
      this.transmit(session, call);
    }
  }

  onResponse(session: Session, body: MessageBody): void {
    const call = this.all.find(body.request_id as string);
    // Late, second and unknown answers are ignored.
    if (call === undefined) return;
    this.receivedCount++;
    if (!call.isAnswered) {
      call.isAnswered = true;
      this.roundTrips.record(performance.now() - call.startedAt);
    }
    if (body.error) {
      this.onFailure(session, call, remoteError(body));
    } else if (!session.isUpgraded) {
      call.next(body.data, false);
      call.complete();
    } else {
      call.receive(body);
      if (body.more === true && !call.isSettled) this.restartDeadline(call);
    }
  }

  /** Taken before anybody is told of the loss. */
  inFlightOn(session: Session): PendingCall<Session>[] {
    return this.all.inFlightOn(session);
  }

  onLost(call: PendingCall<Session>, cause: UnixSocketError): void {
    if (call.isSettled) return;
    if (call.options.idempotent === true && this.repeat(call, true)) return;
    call.fail(new ConnectionLostError(this.label, { delivery: 'sentNoReply', cause }));
  }

  /** The calls that have not ended. */
  open(): PendingCall<Session>[] {
    return this.all.toArray();
  }

  /** There will be no connection for now. */
  failWaiting(error: UnixSocketError): void {
    const calls = this.waiting.takeAll();
    const reason = error.delivery === 'notSent' ? error : new NotConnectedError(this.label, error);
    for (const call of calls) call.fail(reason);
  }

  /** The link closes: nobody answers any more. */
  failPending(): void {
    for (const call of this.all.toArray()) {
      this.tellCancelled(call);
      call.fail(new ClientClosedError('sentNoReply'));
    }
  }

  /** After the last call has ended. */
  close(): void {
    this.deadlines.close();
  }

  release(call: PendingCall<Session>): void {
    this.deadlines.remove(call);
    this.all.remove(call);
    if (call.state === 'waiting') this.waiting.remove(call);
    else this.leave(call);
    this.route.onProgress();
  }

  tellCancelled(call: PendingCall<Session>): void {
    const { session, state, kind } = call;
    if (state === 'sent' && kind === 'request' && session?.isUpgraded === true) {
      session.notify(call.id, 'cancelled');
    }
  }

  noteFailure(error: UnixSocketError): void {
    this.failures.add(error.code);
    if (error.code === 'REQUEST_TIMEOUT') this.timeoutCount++;
  }

  /** Sends the call, or lets it wait for a connection, or ends it, as `offline` says. */
  private dispatch(call: PendingCall<Session>): void {
    const { route } = this;
    const session = route.readySession;
    if (session !== undefined) {
      // Those that have waited are about to go out, or are just going; this one comes behind them.
      if (this.waiting.size > 0) this.waiting.add(call);
      else this.transmit(session, call);
      return;
    }
    const refusal = this.waiting.refusal(call, route.isResting, route.lastError);
    if (refusal !== undefined) {
      call.fail(refusal);
      return;
    }
    this.waiting.add(call);
    route.onWanted();
  }

  private transmit(session: Session, call: PendingCall<Session>): void {
    const { maxSendQueueBytes } = this.options;
    if (session.queuedBytes > maxSendQueueBytes) {
      call.fail(new SendQueueFullError(session.queuedBytes, maxSendQueueBytes));
      return;
    }
    const { id, type, payload, kind } = call;
    const asPush = kind === 'event' && this.sendsEventsAsPush(session);
    try {
      const { dialect, maxFrameBytes } = session;
      const extras = this.extras(session, call);
      const frame = asPush
        ? dialect.event(id, type, payload, extras, maxFrameBytes)
        : dialect.request(id, type, payload, extras, maxFrameBytes);
      call.state = 'sent';
      call.session = session;
      session.inFlight++;
      this.sentCount++;
      this.pendingCount++;
      if (!asPush && !session.isUpgraded) session.unanswered.add(id);
      session.send(frame, kind === 'event' ? call : undefined);
      session.onCallMade();
    } catch (error) {
      call.fail(error as UnixSocketError);
    }
  }

  private extras(session: Session, call: PendingCall<Session>): string {
    const { meta, isPacket, timeoutMs, intake } = call.options;
    if (meta === undefined && isPacket === undefined && timeoutMs === undefined && intake === undefined)
      return '';
    const hasDeadline = session.isUpgraded && timeoutMs !== undefined && timeoutMs > 0;
    const deadlineMs = hasDeadline ? Math.max(0, Math.ceil(call.expiresAt - performance.now())) : undefined;
    return (
      extra('meta', meta) +
      (isPacket === true ? ',"packet":true' : '') +
      extra('deadline_ms', deadlineMs) +
      creditExtra(intake, session.takesCredit)
    );
  }

  private onFailure(session: Session, call: PendingCall<Session>, error: UnixSocketError): void {
    // A server that is going away did not start the call, so it may be sent to the next one whatever it does.
    if (error instanceof RefusedError && error.code === 'DRAINING') {
      this.route.retire(session);
      if (this.repeat(call, false)) return;
    }
    call.fail(error);
  }

  /** False if the call may not be sent again: too often, or part of its answer has been handed on. */
  private repeat(call: PendingCall<Session>, mayHaveRun: boolean): boolean {
    if (this.route.isClosing || call.repeats >= this.options.maxRepeats || call.hasDelivered) return false;
    this.leave(call);
    call.repeats++;
    call.mayHaveRun ||= mayHaveRun;
    call.isAnswered = false;
    call.state = 'waiting';
    this.repeatedCount++;
    this.dispatch(call);
    return true;
  }

  /** The call is no longer in flight on its connection. */
  private leave(call: PendingCall<Session>): void {
    const { session } = call;
    if (session === undefined) return;
    call.session = undefined;
    this.pendingCount--;
    if (--session.inFlight === 0) this.route.onSessionIdle(session);
  }

  private sendsEventsAsPush(session: Session): boolean {
    const { eventsAs } = this.options;
    // A plain server ignores pushes.
    return eventsAs === 'auto' ? session.isUpgraded : eventsAs === 'push';
  }

  private restartDeadline(call: PendingCall<Session>): void {
    // An explicit time limit bounds the whole call.
    if (call.options.timeoutMs !== undefined) return;
    this.deadlines.remove(call);
    const { idleTimeoutMs } = this.options;
    if (idleTimeoutMs === 0 || call.options.intake?.isOpen === false) return;
    this.deadlines.add(call, idleTimeoutMs, performance.now());
  }
}
