import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { IncomingCall } from '../calls/incoming-call.js';
import { readIncoming } from '../calls/incoming-message.js';
import { Connection, type ConnectionOwner } from '../connection/connection.js';
import { RoundTrip } from '../connection/round-trip.js';
import { Heartbeat, type HeartbeatTarget } from '../connection/heartbeat.js';
import {
  AccountMismatchError,
  ConnectError,
  ConnectionLostError,
  ConnectionRefusedByServerError,
  ConnectTimeoutError,
  PeerSilentError,
  SendQueueFullError,
} from '../errors/connection.errors.js';
import { FrameTimeoutError, MalformedFrameError } from '../errors/protocol.errors.js';
import { UnixSocketError } from '../errors/unix-socket.error.js';
import type { Flushed } from '../connection/send-queue.js';
import type { ResolvedLinkOptions } from '../options/client-options.js';
import { endpointLabel } from '../options/endpoint.js';
import { ACK, PACKAGE_NAME, REVERSE } from '../protocol/capabilities.js';
import type { Dialect } from '../protocol/dialect.js';
import type { ClientDialects } from '../protocol/dialects.js';
import { extra } from '../protocol/envelope.js';
import type { Frame } from '../protocol/frame-writer.js';
import { readErrorDetail, readGreeting, readInteger, type GreetingInfo } from '../protocol/guards.js';
import { MessageType, type MessageBody } from '../protocol/message-body.js';
import { readResumeNotice, type ResumeNotice, type ResumeRequest } from '../protocol/room-positions.js';
import { dial, withTruth } from './dial.js';
import { ServedCalls, type ServedCallsOwner, type ServedChannel } from './served-calls.js';

/** What a session tells its link. */
export interface SessionOwner extends ServedCallsOwner<Session> {
  /** Whether the server may call us. */
  readonly isCallable: boolean;
  /** The greeting has been read; calls may be sent. */
  onReady(session: Session): void;
  onResponse(session: Session, body: MessageBody): void;
  onPush(session: Session, body: MessageBody, bytes: number): void;
  /** Something about the server's calls went wrong. */
  onServingError(code: string): void;
  /** What to ask of this connection in `hello`, about the rooms of the ones before. */
  resumeRequest(session: Session): ResumeRequest | undefined;
  /** What the server says of rooms. Returns whether to confirm it. */
  onResumeNotice(session: Session, notice: ResumeNotice): boolean;
  /** An `error` frame of the server's own accord, for example that it is going away. */
  onNotice(session: Session, code: string | undefined, text: string): void;
  /** Once, last but for the end of what the server had called. */
  onClosed(session: Session, error: UnixSocketError): void;
}

/** A plain server answers nothing, not even heartbeats, while one of its handlers runs; but it cuts by itself after this. */
const BUSY_PLAIN_SERVER_SILENCE_MS = 75_000;

/** A server that leaves this much unread is sent no further answers, and nothing new is started for it. */
const HOLD_BACK_BYTES = 1024 * 1024;

/** The answer of a push counts as no call. */
const UNOWNED = { isHeldBack: false, onAnswerWaits: () => undefined, onCallSettled: () => undefined };

/** One connection of a link, from dialling to its end. Never reused. */
export class Session implements ServedChannel, ConnectionOwner, HeartbeatTarget {
  readonly label: string;
  greeting: GreetingInfo | undefined;
  maxFrameBytes: number;
  isReady = false;
  /** Calls sent on this connection that wait for their answer. Kept by the link. */
  inFlight = 0;
  /** Ids of requests that a plain server still owes an answer, also of those nobody waits for any more. */
  readonly unanswered = new Set<string>();

  private readonly socket: Duplex;
  private readonly connection: Connection;
  private readonly heartbeat: Heartbeat;
  private readonly greetingTimer: NodeJS.Timeout;
  private connectFailure: UnixSocketError | undefined;
  private readonly roundTrip = new RoundTrip();
  /** Made with the server's first call. */
  private served: ServedCalls<Session> | undefined;
  private saysCallable = false;
  private beatWaiters: (() => void)[] = [];

  constructor(
    private readonly options: ResolvedLinkOptions,
    private readonly dialects: ClientDialects,
    private readonly owner: SessionOwner,
  ) {
    const { endpoint, connectTimeoutMs } = options;
    this.label = endpointLabel(endpoint);
    this.maxFrameBytes = options.maxFrameBytes;
    this.socket = dial(endpoint);
    this.socket.once('error', (error: NodeJS.ErrnoException) => {
      if (this.bytesReceived === 0 && !this.isReady)
        this.connectFailure = new ConnectError(this.label, withTruth(error, options.endpoint));
    });
    this.connection = new Connection(this.socket, this, this.label, options.maxFrameBytes, dialects.first);
    this.greetingTimer = setTimeout(() => {
      this.connection.destroy(new ConnectTimeoutError(this.label, connectTimeoutMs));
    }, connectTimeoutMs);
    if (!options.awaitGreeting) this.whenOpen(() => this.becomeReady());
    const { enabled, intervalMs, timeoutMs } = options.heartbeat;
    this.heartbeat = new Heartbeat(this, {
      beatIntervalMs: enabled ? intervalMs : 0,
      silenceTimeoutMs: enabled ? timeoutMs : 0,
      frameTimeoutMs: options.frameTimeoutMs,
    });
  }

  /** The stream underneath; a `net.Socket` but for streams of one's own. */
  get stream(): Duplex {
    return this.socket;
  }

  /** Whether the server showed that it is one of ours. */
  get isUpgraded(): boolean {
    return this.greeting?.caps !== undefined;
  }

  get dialect(): Dialect {
    return this.connection.dialect;
  }

  /** Of the last probe, milliseconds; undefined before the first, and from plain servers. */
  get lastRoundTripMs(): number | undefined {
    return this.roundTrip.lastMs;
  }

  get bytesReceived(): number {
    return this.connection.bytesReceived;
  }

  get bytesSent(): number {
    return this.connection.bytesSent;
  }

  get queuedBytes(): number {
    return this.connection.queuedBytes;
  }

  get isBackedUp(): boolean {
    return this.connection.isOpen && this.queuedBytes > HOLD_BACK_BYTES;
  }

  get hasPartialFrame(): boolean {
    return this.connection.hasPartialFrame;
  }

  /** Whether nobody waits for an answer on it, here or there. */
  get isIdle(): boolean {
    return this.inFlight === 0 && this.isServingNothing;
  }

  /** Whether no call of the server runs or waits here. */
  get isServingNothing(): boolean {
    return this.served?.isIdle ?? true;
  }

  get runningCount(): number {
    return this.served?.runningCount ?? 0;
  }

  get waitingCount(): number {
    return this.served?.waitingCount ?? 0;
  }

  send(frame: Frame, onFlushed?: Flushed): void {
    this.connection.send(frame, onFlushed);
  }

  /** Says something that asks for no answer. @param id the call it is about, or empty */
  notify(id: string, text: string): void {
    const frame = this.dialect.notice(id, text, undefined);
    if (frame !== undefined) this.send(frame);
  }

  sendFrame(frame: Frame, _type: MessageType, isOneOfMany = false): void {
    if (!isOneOfMany || !this.isOverfull()) this.send(frame);
  }

  noteError(code: string): void {
    this.owner.onServingError(code);
  }

  /** Whether the server leaves so much unread that the connection has to go; then it goes. */
  private isOverfull(): boolean {
    const { queuedBytes } = this;
    const { maxSendQueueBytes } = this.options;
    if (queuedBytes <= maxSendQueueBytes) return false;
    this.connection.destroy(new SendQueueFullError(queuedBytes, maxSendQueueBytes));
    return true;
  }

  /** One call of ours more is under way: a handler may be waiting for it, so another one may run. */
  onCallMade(): void {
    this.served?.pump();
  }

  /** The server hears that it may call us, if it has not. */
  announceCallable(): void {
    if (this.isReady && this.isUpgraded && !this.saysCallable) this.sayHello();
  }

  /** To answer this push through. */
  answerTo(push: MessageBody, bytes: number): IncomingCall<Session> | undefined {
    // One that does not read its answers gets none.
    if (!this.isUpgraded || this.queuedBytes > this.options.maxSendQueueBytes) return undefined;
    return new IncomingCall<Session>(this, readIncoming('request', push, bytes), UNOWNED);
  }

  /** Returns how many calls of the server that were. */
  cancelServed(reason: Error): number {
    return this.served?.cancelAll(reason) ?? 0;
  }

  end(): void {
    this.served?.flush();
    if (this.isReady) this.connection.end();
    else this.connection.destroy();
  }

  /** Sends a heartbeat and calls back with its answer; never, if none comes. */
  ping(onAnswer: () => void): void {
    this.beatWaiters.push(onAnswer);
    this.send(this.dialect.ping(this.probe()));
  }

  onMessage(body: MessageBody, bytes: number): void {
    switch (body.msg_type) {
      case MessageType.Response:
        this.onResponse(body);
        return;
      case MessageType.Push:
        this.owner.onPush(this, body, bytes);
        return;
      case MessageType.Heartbeat:
        this.onHeartbeat(body);
        return;
      case MessageType.Error:
        if (body.request_id === '') this.onNotice(body);
        else this.served?.cancel(body.request_id);
        return;
      case MessageType.Request:
        if (this.isUpgraded) this.onRequest(body, bytes);
    }
  }

  onEnd(): void {
    // The server has ended its side, so no answer can come any more. Some servers never close by themselves.
    this.connection.destroy();
  }

  onClose(cause: Error | undefined): void {
    clearTimeout(this.greetingTimer);
    this.heartbeat.stop();
    this.beatWaiters = [];
    const cameFrom = this.connectFailure ?? cause;
    const error =
      cameFrom instanceof UnixSocketError
        ? cameFrom
        : new ConnectionLostError(this.label, { cause: cameFrom });
    this.owner.onClosed(this, error);
    this.cancelServed(error);
  }

  onDrain(): void {
    this.served?.onDrain();
  }

  silenceLimitMs(): number {
    const { enabled, timeoutMs } = this.options.heartbeat;
    if (!enabled || timeoutMs === 0 || !this.dialect.hasHeartbeats) return 0;
    return !this.isUpgraded && this.unanswered.size > 0
      ? Math.max(timeoutMs, BUSY_PLAIN_SERVER_SILENCE_MS)
      : timeoutMs;
  }

  beat(): void {
    this.sendHeartbeat(this.probe());
  }

  onSilent(limitMs: number): void {
    this.connection.destroy(new PeerSilentError(this.label, limitMs));
  }

  onStuckFrame(limitMs: number): void {
    this.connection.destroy(new FrameTimeoutError(limitMs));
  }

  /** Streams of one's own are open from the start. */
  private whenOpen(callback: () => void): void {
    if (this.socket instanceof Socket) this.socket.once('connect', callback);
    else process.nextTick(callback);
  }

  private onResponse(body: MessageBody): void {
    const { request_id: id } = body;
    if (!this.isReady && id === '') {
      this.greeting = readGreeting(body.data);
      if (!this.isExpectedAccount(this.greeting)) return;
      this.maxFrameBytes = Math.min(this.maxFrameBytes, this.greeting.maxFrameBytes ?? Infinity);
      this.becomeReady();
      return;
    }
    if (typeof id === 'string') {
      this.unanswered.delete(id);
      this.owner.onResponse(this, body);
    } else if (typeof id === 'object' && id !== null) {
      this.connection.destroy(new MalformedFrameError('the id of a response is no string'));
    }
  }

  private becomeReady(): void {
    clearTimeout(this.greetingTimer);
    this.isReady = true;
    this.heartbeat.start();
    const resume = this.owner.resumeRequest(this);
    if (this.isUpgraded) {
      this.connection.dialect = this.dialects.v2.upgraded(this.greeting?.caps ?? []);
      this.sayHello(resume);
    }
    this.owner.onReady(this);
  }

  private sayHello(resume?: ResumeRequest): void {
    const { accountId, maxFrameBytes } = this.options;
    this.saysCallable = this.owner.isCallable;
    const hello = {
      name: PACKAGE_NAME,
      account_id: accountId,
      caps: [...this.dialects.v2.capabilities, ACK, ...(this.saysCallable ? [REVERSE] : [])],
      max_frame_bytes: maxFrameBytes,
      ...(resume === undefined ? {} : { resume }),
    };
    this.sendHeartbeat(extra('hello', hello) + this.probe());
  }

  private onRequest(body: MessageBody, bytes: number): void {
    this.served ??= new ServedCalls<Session>(this, this.options, this.owner);
    this.served.onRequest(body, bytes);
  }

  private onHeartbeat(body: MessageBody): void {
    const probe = readInteger(body.probe);
    // Only a probe is answered: a client that answered plain heartbeats would beat with its server for ever.
    if (probe !== undefined && this.isUpgraded) this.sendHeartbeat(extra('probe_ack', probe));
    const notice = this.isUpgraded && body.resume !== undefined ? readResumeNotice(body.resume) : undefined;
    if (notice !== undefined && this.owner.onResumeNotice(this, notice))
      this.sendHeartbeat(extra('resume', { ack: true }));
    this.roundTrip.finish(body.probe_ack);
    if (this.isUpgraded && body.probe_ack === undefined) return;
    const waiters = this.beatWaiters;
    this.beatWaiters = [];
    for (const onAnswer of waiters) onAnswer();
  }

  /** Asks an upgraded server to answer, so that the round trip is measured. */
  private probe(): string {
    return this.isUpgraded ? extra('probe', this.roundTrip.start()) : '';
  }

  private sendHeartbeat(extras: string): void {
    const frame = this.dialect.heartbeat(extras);
    if (frame !== undefined) this.send(frame);
  }

  /** As V1 clients do; the original's V2 clients do not look. */
  private isExpectedAccount({ accountId }: GreetingInfo): boolean {
    const { accountId: expected } = this.options;
    if (this.dialect.version !== 'v1' || expected === '' || accountId === expected) return true;
    this.connection.destroy(new AccountMismatchError(this.label, expected, accountId));
    return false;
  }

  private onNotice(body: MessageBody): void {
    const { code } = readErrorDetail(body.error_detail);
    const text = typeof body.error === 'string' ? body.error : '';
    if (this.isReady) this.owner.onNotice(this, code, text);
    else this.connection.destroy(new ConnectionRefusedByServerError(this.label, text));
  }
}
