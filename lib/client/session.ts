import { lstatSync } from 'node:fs';
import { connect, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
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
} from '../errors/connection.errors.js';
import { FrameTimeoutError, MalformedFrameError } from '../errors/protocol.errors.js';
import { UnixSocketError } from '../errors/unix-socket.error.js';
import type { Flushed } from '../connection/send-queue.js';
import type { ResolvedLinkOptions } from '../options/client-options.js';
import { endpointLabel, isAbstract, type Endpoint } from '../options/endpoint.js';
import { PACKAGE_NAME } from '../protocol/capabilities.js';
import type { Dialect } from '../protocol/dialect.js';
import type { ClientDialects } from '../protocol/dialects.js';
import { extra } from '../protocol/envelope.js';
import type { Frame } from '../protocol/frame-writer.js';
import { readErrorDetail, readGreeting, readInteger, type GreetingInfo } from '../protocol/guards.js';
import { MessageType, type MessageBody } from '../protocol/message-body.js';
import { readResumeNotice, type ResumeNotice, type ResumeRequest } from '../protocol/room-positions.js';

/** What a session tells its link. */
export interface SessionOwner {
  /** The greeting has been read; calls may be sent. */
  onReady(session: Session): void;
  onResponse(session: Session, body: MessageBody): void;
  onPush(session: Session, body: MessageBody): void;
  /** What to ask of this connection in `hello`, about the rooms of the ones before. */
  resumeRequest(session: Session): ResumeRequest | undefined;
  /** What the server says of rooms. Returns whether to confirm it. */
  onResumeNotice(session: Session, notice: ResumeNotice): boolean;
  /** An `error` frame of the server's own accord, for example that it is going away. */
  onNotice(session: Session, code: string | undefined, text: string): void;
  /** Once, last. */
  onClosed(session: Session, error: UnixSocketError): void;
}

/** A plain server answers nothing, not even heartbeats, while one of its handlers runs; but it cuts by itself after this. */
const BUSY_PLAIN_SERVER_SILENCE_MS = 75_000;

/** One connection of a link, from dialling to its end. Never reused. */
export class Session implements ConnectionOwner, HeartbeatTarget {
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
  private beatWaiters: (() => void)[] = [];

  constructor(
    private readonly options: ResolvedLinkOptions,
    private readonly dialects: ClientDialects,
    private readonly owner: SessionOwner,
  ) {
    const { endpoint, connectTimeoutMs } = options;
    this.label = endpointLabel(endpoint);
    this.maxFrameBytes = options.maxFrameBytes;
    this.socket = open(endpoint);
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

  get hasPartialFrame(): boolean {
    return this.connection.hasPartialFrame;
  }

  send(frame: Frame, onFlushed?: Flushed): void {
    this.connection.send(frame, onFlushed);
  }

  /** Says something that asks for no answer. @param id the call it is about, or empty */
  notify(id: string, text: string): void {
    const frame = this.dialect.notice(id, text, undefined);
    if (frame !== undefined) this.send(frame);
  }

  end(): void {
    if (this.isReady) this.connection.end();
    else this.connection.destroy();
  }

  /** Sends a heartbeat and calls back with its answer; never, if none comes. */
  ping(onAnswer: () => void): void {
    this.beatWaiters.push(onAnswer);
    this.send(this.dialect.ping(this.probe()));
  }

  onMessage(body: MessageBody): void {
    switch (body.msg_type) {
      case MessageType.Response:
        this.onResponse(body);
        return;
      case MessageType.Push:
        this.owner.onPush(this, body);
        return;
      case MessageType.Heartbeat:
        this.onHeartbeat(body);
        return;
      case MessageType.Error:
        if (body.request_id === '') this.onNotice(body);
        return;
      case MessageType.Request:
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
    const error = this.connectFailure ?? cause;
    this.owner.onClosed(
      this,
      error instanceof UnixSocketError ? error : new ConnectionLostError(this.label, { cause: error }),
    );
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
      const { accountId, maxFrameBytes } = this.options;
      const { v2 } = this.dialects;
      this.connection.dialect = v2.upgraded(this.greeting?.caps ?? []);
      const hello = {
        name: PACKAGE_NAME,
        account_id: accountId,
        caps: v2.capabilities,
        max_frame_bytes: maxFrameBytes,
        ...(resume === undefined ? {} : { resume }),
      };
      this.sendHeartbeat(extra('hello', hello) + this.probe());
    }
    this.owner.onReady(this);
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

function open(endpoint: Endpoint): Duplex {
  if ('label' in endpoint) return endpoint.connect();
  if ('path' in endpoint) return connect(endpoint.path);
  if ('fd' in endpoint) throw new Error('A descriptor is for servers');
  return connect({ ...endpoint, noDelay: true });
}

/** Linux says "refused" of a file that is no socket as well as of a dead server's. */
function withTruth(error: NodeJS.ErrnoException, endpoint: Endpoint): NodeJS.ErrnoException {
  if (error.code !== 'ECONNREFUSED' || !('path' in endpoint) || isAbstract(endpoint)) return error;
  try {
    const stats = lstatSync(endpoint.path);
    if (stats.isSocket() || stats.isSymbolicLink()) return error;
  } catch {
    return error;
  }
  return Object.assign(new Error(error.message, { cause: error }), { code: 'ENOTSOCK' });
}
