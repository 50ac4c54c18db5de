import type { Duplex } from 'node:stream';
import { Connection, type ConnectionOwner } from '../connection/connection.js';
import { ConnectionLostError, ConnectionRefusedByServerError } from '../errors/connection.errors.js';
import { cutIfOverfull, isBackedUp } from '../connection/unread.js';
import { MalformedFrameError } from '../errors/protocol.errors.js';
import { UnixSocketError } from '../errors/unix-socket.error.js';
import type { StreamFlow } from '../calls/stream-flow.js';
import type { FlushListener } from '../connection/send-queue.js';
import type { ResolvedLinkOptions } from '../options/client-options.js';
import { endpointLabel } from '../options/endpoint.js';
import { ACK, CREDIT, PACKAGE_NAME, REVERSE } from '../protocol/capabilities.js';
import type { Dialect } from '../protocol/dialect.js';
import type { ClientDialects } from '../protocol/dialects.js';
import { extra } from '../protocol/envelope.js';
import type { Frame } from '../protocol/frame-writer.js';
import { readErrorDetail, readInteger, type GreetingInfo } from '../protocol/guards.js';
import { MessageType, type MessageBody } from '../protocol/message-body.js';
import { readResumeNotice, type ResumeNotice, type ResumeRequest } from '../protocol/room-positions.js';
import { dial } from './dial.js';
import { Handshake, type HandshakeOwner } from './handshake.js';
import { ServedCalls, type ServedCallsOwner, type ServedChannel } from './served-calls.js';
import { SessionLiveness, type LiveSession } from './session-liveness.js';

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

/** One connection of a link, from dialling to its end. Never reused. */
export class Session implements ServedChannel, ConnectionOwner, HandshakeOwner, LiveSession {
  readonly label: string;
  greeting: GreetingInfo | undefined;
  maxFrameBytes: number;
  isReady = false;
  /** Calls sent on this connection that wait for their answer. Kept by the link. */
  inFlight = 0;
  /** Ids of requests that a plain server still owes an answer, also of those nobody waits for any more. */
  readonly unanswered = new Set<string>();
  /** Calls of the server; made with the first. */
  served: ServedCalls<Session> | undefined;
  /** The stream underneath; a `net.Socket` but for streams of one's own. */
  readonly stream: Duplex;
  readonly liveness: SessionLiveness;

  private readonly connection: Connection;
  private readonly handshake: Handshake;
  private saysCallable = false;

  constructor(
    private readonly options: ResolvedLinkOptions,
    private readonly dialects: ClientDialects,
    private readonly owner: SessionOwner,
  ) {
    this.label = endpointLabel(options.endpoint);
    this.maxFrameBytes = options.maxFrameBytes;
    this.stream = dial(options.endpoint);
    this.connection = new Connection(this.stream, this, this.label, options.maxFrameBytes, dialects.first);
    this.handshake = new Handshake(this, this.stream, this.connection, options);
    this.liveness = new SessionLiveness(this, this.connection, options);
  }

  /** Whether the server showed that it is one of ours. */
  get isUpgraded(): boolean {
    return this.greeting?.caps !== undefined;
  }

  /** Whether it sends no more of a stream than it is told. */
  get takesCredit(): boolean {
    return this.greeting?.caps?.includes(CREDIT) === true;
  }

  get dialect(): Dialect {
    return this.connection.dialect;
  }

  get isConnected(): boolean {
    return this.connection.isOpen;
  }

  get flow(): StreamFlow {
    return this.servedCalls;
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
    return isBackedUp(this.connection, this.options.maxSendQueueBytes);
  }

  /** Whether nobody waits for an answer on it, here or there. */
  get isIdle(): boolean {
    return this.inFlight === 0 && this.isServingNothing;
  }

  /** Whether no call of the server runs or waits here. */
  get isServingNothing(): boolean {
    return this.served?.isIdle ?? true;
  }

  send(frame: Frame, listener?: FlushListener): void {
    this.connection.send(frame, listener);
  }

  /** Says something that asks for no answer. @param id the call it is about, or empty */
  notify(id: string, text: string): void {
    const frame = this.dialect.notice(id, text, undefined);
    if (frame !== undefined) this.send(frame);
  }

  /** The server may send so many more values for this call. */
  sayCredit(id: string, values: number): void {
    const frame = this.dialect.heartbeat(extra('credit', values), id);
    if (frame !== undefined) this.send(frame);
  }

  sendFrame(frame: Frame, _type: MessageType, isOneOfMany = false): void {
    // A single large frame is never cut off, only what piles up behind it.
    if (isOneOfMany && cutIfOverfull(this.connection, this.options.maxSendQueueBytes)) return;
    this.send(frame);
  }

  noteError(code: string): void {
    this.owner.onServingError(code);
  }

  /** One call of ours more is under way: a handler may be waiting for it, so another one may run. */
  onCallMade(): void {
    this.served?.pump();
  }

  /** The server hears that it may call us, if it has not. */
  announceCallable(): void {
    if (this.isReady && this.isUpgraded && !this.saysCallable) this.sayHello();
  }

  end(): void {
    this.served?.flush();
    if (this.isReady) this.connection.end();
    else this.connection.destroy();
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
    this.handshake.stop();
    this.liveness.stop();
    const cameFrom = this.handshake.failure ?? cause;
    const error =
      cameFrom instanceof UnixSocketError
        ? cameFrom
        : new ConnectionLostError(this.label, { cause: cameFrom });
    this.owner.onClosed(this, error);
    this.served?.cancelAll(error);
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

  onGreeted(greeting: GreetingInfo | undefined): void {
    this.greeting = greeting;
    this.maxFrameBytes = Math.min(this.maxFrameBytes, greeting?.maxFrameBytes ?? Infinity);
    this.isReady = true;
    this.liveness.start();
    const resume = this.owner.resumeRequest(this);
    if (this.isUpgraded) {
      this.connection.dialect = this.dialects.v2.upgraded(greeting?.caps ?? []);
      this.sayHello(resume);
    }
    this.owner.onReady(this);
  }

  private onResponse(body: MessageBody): void {
    const { request_id: id } = body;
    if (!this.isReady && id === '') {
      this.handshake.onGreeting(body.data);
      return;
    }
    if (typeof id === 'string') {
      this.unanswered.delete(id);
      this.owner.onResponse(this, body);
    } else if (typeof id === 'object' && id !== null) {
      this.connection.destroy(new MalformedFrameError('the id of a response is no string'));
    }
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
    this.liveness.sendBeat(extra('hello', hello) + this.liveness.probe());
  }

  private onRequest(body: MessageBody, bytes: number): void {
    this.servedCalls.onRequest(body, bytes);
  }

  private get servedCalls(): ServedCalls<Session> {
    this.served ??= new ServedCalls<Session>(this, this.options, this.owner);
    return this.served;
  }

  private onHeartbeat(body: MessageBody): void {
    if (body.credit !== undefined && this.isUpgraded) {
      this.served?.addCredit(body.request_id, readInteger(body.credit) ?? 0);
      return;
    }
    this.liveness.onHeartbeat(body);
    const notice = this.isUpgraded && body.resume !== undefined ? readResumeNotice(body.resume) : undefined;
    if (notice !== undefined && this.owner.onResumeNotice(this, notice))
      this.liveness.sendBeat(extra('resume', { ack: true }));
  }

  private onNotice(body: MessageBody): void {
    const { code } = readErrorDetail(body.error_detail);
    const text = typeof body.error === 'string' ? body.error : '';
    if (this.isReady) this.owner.onNotice(this, code, text);
    else this.connection.destroy(new ConnectionRefusedByServerError(this.label, text));
  }
}
