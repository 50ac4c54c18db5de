import type { Duplex } from 'node:stream';
import { CallQueue } from '../calls/call-queue.js';
import { IncomingCall } from '../calls/incoming-call.js';
import { readIncoming } from '../calls/incoming-message.js';
import type { CallObserver, CallOptions } from '../calls/pending-call.js';
import { requestPayload, type ClientRequestOptions } from '../calls/request.js';
import { Connection, type ConnectionOwner } from '../connection/connection.js';
import { RoundTrip } from '../connection/round-trip.js';
import { Heartbeat, type HeartbeatTarget } from '../connection/heartbeat.js';
import { ConnectionLostError, PeerSilentError, SendQueueFullError } from '../errors/connection.errors.js';
import { CallCancelledError } from '../errors/call.errors.js';
import { FrameTimeoutError } from '../errors/protocol.errors.js';
import type { ResolvedServerOptions } from '../options/server-options.js';
import { ACK, REVERSE } from '../protocol/capabilities.js';
import type { Dialect, ProtocolVersion } from '../protocol/dialect.js';
import type { ServerDialects } from '../protocol/dialects.js';
import { extra } from '../protocol/envelope.js';
import type { Frame } from '../protocol/frame-writer.js';
import { readHello, readInteger } from '../protocol/guards.js';
import { MessageType, type MessageBody } from '../protocol/message-body.js';
import type { PushFrames } from '../protocol/push-frames.js';
import type { RoomPosition } from '../protocol/room-positions.js';
import { BeatLimiter } from './beat-limiter.js';
import type { Caller, PushOptions, PushOutcome } from './client-connection.js';
import type { Deduplicator } from './deduplicator.js';
import { HalfOpenWatch, type HalfOpenPeer } from './half-open-watch.js';
import { PeerCalls, type CallablePeer, type PeerCallsOwner } from './peer-calls.js';
import { PeerPushes, type PeerPushesOwner } from './peer-pushes.js';
import { PushOperator } from './push.js';
import type { SlowConsumerPolicy } from './push-queue.js';
import type { ResumeSession } from './resume-sessions.js';
import type { ConnectionStats } from './server-reports.js';
import type { SilentPeers } from './silent-peers.js';

/** What a peer tells the server it belongs to. */
export interface PeerOwner extends PeerPushesOwner, PeerCallsOwner {
  /** Run the handler of this call. */
  onCall(call: IncomingCall<Caller>): void;
  onCallSettled(call: IncomingCall<Caller>): void;
  /** The caller waits only so long from now. */
  onDeadline(call: IncomingCall<Caller>, deadlineMs: number): void;
  onMessage(type: MessageType): void;
  onSent(type: MessageType): void;
  onError(code: string): void;
  /** The client has said that it takes calls. */
  onCallable(peer: Peer): void;
  /** A successor asks for the path of this server. */
  onTakeOverAsked(peer: Peer): void;
  /** Its last call has ended, and its connection is not open any more. */
  onIdle(peer: Peer): void;
  /** Once, last but for calls that go on without it. `cause` is undefined after an ordinary end. */
  onClosed(peer: Peer, cause: Error | undefined): void;
  readonly dialects: ServerDialects;
  readonly silentPeers: SilentPeers;
  /** Set if calls that clients repeat are recognised. */
  readonly deduplicator: Deduplicator | undefined;
}

const SHUTTING_DOWN = 'The server is shutting down; the call was not started.';

/** While draining, a client that has not said anything yet gets this long to show what it is. */
const UNKNOWN_PEER_GRACE_MS = 500;
/** A client that leaves this much unread is sent no further answers, and nothing new is started for it. */
const HOLD_BACK_BYTES = 1024 * 1024;

/** The server's view of one client: greeting, version, heartbeats, and the calls it has made. */
export class Peer implements Caller, CallablePeer, ConnectionOwner, HeartbeatTarget, HalfOpenPeer {
  readonly connectedAt = Date.now();
  isUpgraded = false;
  clientName: string | undefined;
  accountId: string | undefined;
  isCallable = false;
  acknowledges = false;
  maxFrameBytes: number;
  lastActivityAt = this.connectedAt;

  private readonly connection: Connection;
  private readonly calls: CallQueue<Caller>;
  private readonly pushes: PeerPushes;
  /** Made with the first call to the client. */
  private callsThere: PeerCalls | undefined;
  private readonly heartbeat: Heartbeat;
  private halfOpenWatch: HalfOpenWatch | undefined;
  private leaveTimer: NodeJS.Timeout | undefined;
  private isPaused = false;
  private isDraining = false;
  private readonly beatLimiter = new BeatLimiter();
  private readonly roundTrip = new RoundTrip();

  constructor(
    socket: Duplex,
    readonly id: string,
    private readonly options: ResolvedServerOptions,
    private readonly owner: PeerOwner,
  ) {
    this.maxFrameBytes = options.maxFrameBytes;
    this.connection = new Connection(
      socket,
      this,
      `client ${id}`,
      options.maxFrameBytes,
      owner.dialects.first,
    );
    this.calls = new CallQueue(
      {
        maxConcurrent: options.handling === 'sequential' ? 1 : options.maxConcurrentPerConnection,
        maxQueued: options.maxQueuedPerConnection,
        maxQueuedBytes: options.maxQueuedBytesPerConnection,
      },
      (call) => owner.onCall(call),
      (call) => this.onCallSettled(call),
      () => this.isBackedUp,
      // Their order is the point of sequential handling, so there none begins before the one before has ended.
      () => (options.handling === 'sequential' ? 0 : this.pendingThere),
    );
    this.pushes = new PeerPushes(this, this.connection, owner, options.maxSendQueueBytes);
    const { enabled, intervalMs, timeoutMs } = options.heartbeat;
    this.heartbeat = new Heartbeat(this, {
      beatIntervalMs: enabled ? intervalMs : 0,
      silenceTimeoutMs: enabled
        ? Math.min(timeoutMs || Infinity, options.silentPeerTimeoutMs || Infinity)
        : 0,
      frameTimeoutMs: options.frameTimeoutMs,
    });
    this.heartbeat.start();
    this.connection.send(
      owner.dialects.greeting({
        conn_id: id,
        caps: options.takeOver
          ? [...owner.dialects.v2.capabilities, 'take_over']
          : owner.dialects.v2.capabilities,
        max_frame_bytes: options.maxFrameBytes,
      }),
    );
  }

  get dialect(): Dialect {
    return this.connection.dialect;
  }

  get protocolVersion(): ProtocolVersion | undefined {
    return this.dialect.version;
  }

  get rooms(): Set<string> {
    return this.pushes.rooms;
  }

  get isConnected(): boolean {
    return this.connection.isOpen;
  }

  get bytesReceived(): number {
    return this.connection.bytesReceived;
  }

  get bytesSent(): number {
    return this.connection.bytesSent;
  }

  /** Not yet taken by the kernel. */
  get queuedBytes(): number {
    return this.connection.queuedBytes;
  }

  get bytesTaken(): number {
    return this.bytesSent - this.queuedBytes;
  }

  /** Whether it leaves so much unread that it gets nothing more for now. */
  get isBackedUp(): boolean {
    return this.connection.isOpen && this.connection.queuedBytes > HOLD_BACK_BYTES;
  }

  get hasPartialFrame(): boolean {
    // While we do not read from it, the rest of the frame waits for us.
    return !this.isPaused && this.connection.hasPartialFrame;
  }

  /** Whether no call of it runs or waits; some may when the connection is long gone. */
  get isIdle(): boolean {
    return this.calls.isIdle;
  }

  get runningCount(): number {
    return this.calls.runningCount;
  }

  get waitingCount(): number {
    return this.calls.waitingCount;
  }

  /** Calls to the client that it has not answered. */
  get pendingThere(): number {
    return this.callsThere?.size ?? 0;
  }

  get isLeaving(): boolean {
    return this.isDraining && this.calls.isIdle;
  }

  getStats(): ConnectionStats {
    return Object.freeze({
      id: this.id,
      version: this.protocolVersion,
      isUpgraded: this.isUpgraded,
      clientName: this.clientName,
      since: this.connectedAt,
      lastActivity: this.lastActivityAt,
      queuedBytes: this.queuedBytes + this.pushes.bytes,
      queuedPushes: this.pushes.length,
      rooms: Object.freeze([...this.rooms]),
      accountId: this.accountId,
      bytesReceived: this.bytesReceived,
      bytesSent: this.bytesSent,
      inFlight: this.runningCount,
      queued: this.waitingCount,
      pending: this.pendingThere,
      roundTripMs: this.roundTrip.lastMs,
    });
  }

  push(type: string, data: unknown, options?: PushOptions): PushOutcome {
    return new PushOperator(this.owner, [this]).push(type, data, options);
  }

  async pushAcked(type: string, data: unknown, options: ClientRequestOptions = {}): Promise<void> {
    await requestPayload(this.madeCalls.pushes, type, this.madeCalls.encode(data), options);
  }

  async request<T>(type: string, data: unknown, options: ClientRequestOptions = {}): Promise<T> {
    return (await requestPayload(this.madeCalls, type, this.madeCalls.encode(data), options)) as T;
  }

  stream(type: string, data: unknown, observer: CallObserver, options: CallOptions = {}): () => void {
    const { madeCalls } = this;
    const call = madeCalls.call(type, madeCalls.encode(data), options, observer);
    return () => madeCalls.cancel(call);
  }

  onCallMade(): void {
    this.calls.pump();
  }

  join(...rooms: string[]): void {
    this.pushes.join(rooms);
  }

  leave(...rooms: string[]): void {
    this.pushes.leave(rooms);
  }

  /** False if the push was dropped: by its policy, or because it cannot be sent to this client. */
  offerPush(
    frames: PushFrames,
    policy: SlowConsumerPolicy,
    key: string | undefined,
    seq?: readonly RoomPosition[],
  ): boolean {
    return this.pushes.offer(frames.for(this.dialect), policy, key, seq);
  }

  /** Behind the pushes that wait. False if there is no room for it. */
  offerAcked(frame: Frame): boolean {
    return this.pushes.offer(frame, 'dropNewest', undefined, undefined);
  }

  /** A push to kept rooms that is not for it. */
  skipPush(seq: readonly RoomPosition[], policy: SlowConsumerPolicy): void {
    this.pushes.skip(seq, policy);
  }

  /** Set while its client may come back after a loss. */
  get resumeSession(): ResumeSession | undefined {
    return this.pushes.resume.currentSession;
  }

  sendFrame(frame: Frame, type: MessageType, isOneOfMany = false): void {
    // A single large frame is never cut off, only what piles up behind it.
    if (isOneOfMany && this.isOverfull()) return;
    this.owner.onSent(type);
    this.connection.send(frame);
  }

  noteError(code: string): void {
    this.owner.onError(code);
  }

  close(reason?: string): void {
    if (reason !== undefined && this.isUpgraded) this.notify('CLOSED', reason);
    this.pushes.resume.forget();
    this.end();
  }

  destroy(cause?: Error): void {
    this.connection.destroy(cause);
  }

  /**
   * Takes no more calls. An upgraded client is told, sends its next calls elsewhere and leaves once it has its
   * answers; so no call of it is ever cut off. A plain one is ended when it is idle.
   */
  drain(): void {
    this.isDraining = true;
    const isUnknown = this.bytesReceived === 0;
    // One that has said nothing yet may be an upgraded client whose first requests are on their way.
    if (this.isUpgraded || isUnknown) this.notify('GOING_AWAY', 'The server is shutting down.');
    if (this.isUpgraded) this.refuseWaiting();
    else if (isUnknown) this.leaveTimer = setTimeout(() => this.endIfDone(), UNKNOWN_PEER_GRACE_MS);
    else this.endIfDone();
  }

  /** Cancels what still runs and ends the connection. Returns how many calls that were. */
  abort(reason: Error): number {
    const cancelled = this.calls.cancelAll(reason);
    this.callsThere?.failAll(reason);
    this.end();
    return cancelled;
  }

  /** An `error` frame without an id, which plain clients ignore. */
  notify(code: string, text: string): void {
    const frame = this.dialect.notice('', text, { code });
    if (frame !== undefined) this.sendFrame(frame, MessageType.Error);
  }

  onMessage(body: MessageBody, bytes: number): void {
    this.owner.onMessage(body.msg_type);
    this.lastActivityAt = Date.now();
    switch (body.msg_type) {
      case MessageType.Request:
        this.onCallMessage('request', body, bytes);
        return;
      case MessageType.Push:
        this.onCallMessage('event', body, bytes);
        return;
      case MessageType.Heartbeat:
        this.onHeartbeat(body);
        return;
      case MessageType.Error:
        // A plain server ignores such frames, so a plain client may mean anything by them.
        if (this.isUpgraded && body.request_id !== '') {
          this.onCancel(body.request_id, new CallCancelledError());
        }
        return;
      case MessageType.Response:
        this.callsThere?.onResponse(body);
    }
  }

  onEnd(): void {
    // One of ours never half-closes with calls pending, so it has gone; a plain one may wait for its answers.
    if (this.isUpgraded || this.calls.isIdle) {
      this.connection.end();
      return;
    }
    this.heartbeat.stop();
    const { enabled, timeoutMs } = this.options.heartbeat;
    this.halfOpenWatch = new HalfOpenWatch(this, enabled ? timeoutMs : 0);
  }

  onClose(cause: Error | undefined): void {
    this.heartbeat.stop();
    this.owner.silentPeers.release(this);
    this.halfOpenWatch?.stop();
    clearTimeout(this.leaveTimer);
    this.pushes.resume.park();
    const { deduplicator } = this.owner;
    const reason = cause ?? new ConnectionLostError(`client ${this.id}`);
    this.callsThere?.failAll(cause);
    deduplicator?.leave(this, reason);
    // What has run must not run again: whoever asks again gets the answer that is there.
    this.calls.flush(({ shared }) => shared !== undefined);
    // Nobody ever waited for the events, and whoever sends a shared call again waits for it on another connection.
    this.calls.cancelAll(reason, ({ message, shared }) => message.kind === 'event' || shared !== undefined);
    this.owner.onClosed(this, cause);
  }

  onDrain(): void {
    this.pushes.drain();
    this.calls.onDrain();
  }

  silenceLimitMs(): number {
    const { enabled, timeoutMs } = this.options.heartbeat;
    // While we do not read from it, its silence is our doing.
    if (this.isPaused || !enabled) return 0;
    // A V1 client may listen for ever and never say a word.
    if (this.bytesReceived === 0 && this.protocolVersion !== 'v2')
      return this.owner.silentPeers.admit(this) ? this.options.silentPeerTimeoutMs : timeoutMs;
    this.owner.silentPeers.release(this);
    return this.dialect.hasHeartbeats && this.protocolVersion !== undefined ? timeoutMs : 0;
  }

  beat(): void {
    if (this.isBackedUp) return;
    if (this.isUpgraded) {
      this.sendBeat(extra('probe', this.roundTrip.start()));
    } else if (this.isPaused) {
      this.sendBeat();
    }
  }

  sendBeat(extras = ''): void {
    const frame = this.dialect.heartbeat(extras);
    if (frame !== undefined) this.sendFrame(frame, MessageType.Heartbeat);
  }

  onSilent(limitMs: number): void {
    if (this.bytesReceived === 0) this.notify('SILENT', 'Nothing was received on this connection.');
    this.destroy(new PeerSilentError(`client ${this.id}`, limitMs));
  }

  onStuckFrame(limitMs: number): void {
    this.destroy(new FrameTimeoutError(limitMs));
  }

  private onCallMessage(kind: 'request' | 'event', body: MessageBody, bytes: number): void {
    const { request_id: id } = body;
    const deduplicator = kind === 'request' && this.isUpgraded ? this.owner.deduplicator : undefined;
    if (typeof id === 'string' && deduplicator?.join(id, this) === true) return;
    const call = new IncomingCall<Caller>(this, readIncoming(kind, body, bytes), this.calls);
    if (typeof id === 'string') deduplicator?.begin(id, call, this);
    if (call.message.deadlineMs !== undefined) this.owner.onDeadline(call, call.message.deadlineMs);
    if (call.isSettled) return;
    if (this.isDraining && kind === 'request') call.refuse('DRAINING', SHUTTING_DOWN);
    else if (!this.calls.add(call)) this.onOverload(call);
  }

  /** No room for another call. A plain peer knows no refusal, so it is not read from until there is room. */
  private onOverload(call: IncomingCall<Caller>): void {
    this.noteError('OVERLOADED');
    if (!this.isUpgraded) {
      this.calls.enqueue(call);
      this.isPaused = true;
      this.connection.pause();
      return;
    }
    call.refuse(
      'OVERLOADED',
      'The server has no room for more calls of this connection; it was not started.',
    );
  }

  private onCancel(id: unknown, reason: Error): void {
    if (this.owner.deduplicator?.cancel(id, this, reason) !== true) this.calls.cancel(id, reason);
  }

  /** An upgraded client sends them elsewhere. Events, which are never answered, it could not. */
  private refuseWaiting(): void {
    for (const call of this.calls.takeWaiting(({ message }) => message.kind === 'request'))
      call.refuse('DRAINING', SHUTTING_DOWN);
  }

  /** Whether the client leaves so much unread that it has to go; then it goes. */
  private isOverfull(): boolean {
    const { queuedBytes } = this.connection;
    const { maxSendQueueBytes } = this.options;
    if (queuedBytes <= maxSendQueueBytes) return false;
    this.destroy(new SendQueueFullError(queuedBytes, maxSendQueueBytes));
    return true;
  }

  private onCallSettled(call: IncomingCall<Caller>): void {
    this.owner.onCallSettled(call);
    if (!this.connection.isOpen && this.calls.isIdle) this.owner.onIdle(this);
    if (this.isPaused && this.calls.hasRoom) {
      this.isPaused = false;
      this.connection.resume();
    }
    if (this.halfOpenWatch !== undefined || this.isDraining) this.endIfDone();
  }

  /** Ends the connection of a plain client that has all its answers. An upgraded one leaves by itself. */
  private endIfDone(): void {
    if (!this.isUpgraded && this.calls.isIdle) this.end();
  }

  private end(): void {
    this.calls.flush();
    this.pushes.flush();
    this.connection.end();
  }

  private onHeartbeat(body: MessageBody): void {
    if (body.hello !== undefined) this.onHello(body.hello);
    if (body.hello === undefined && body.resume !== undefined) {
      this.pushes.resume.confirm();
      return;
    }
    if (body.probe_ack !== undefined) {
      this.roundTrip.finish(body.probe_ack);
      return;
    }
    // One that does not read its answers would pile them up.
    if (!this.beatLimiter.admit() || this.isBackedUp) return;
    if (body.take_over === true && this.isUpgraded) {
      this.owner.onTakeOverAsked(this);
      return;
    }
    this.sendBeat(extra('probe_ack', readInteger(body.probe)));
  }

  private get madeCalls(): PeerCalls {
    this.callsThere ??= new PeerCalls(this, this.options, this.owner);
    return this.callsThere;
  }

  private onHello(value: unknown): void {
    const hello = readHello(value);
    if (hello === undefined) return;
    if (!this.isUpgraded) {
      this.isUpgraded = true;
      this.clientName = hello.name;
      this.accountId = hello.accountId;
      this.connection.dialect = this.owner.dialects.v2.upgraded(hello.caps);
      this.maxFrameBytes = Math.min(this.maxFrameBytes, hello.maxFrameBytes ?? Infinity);
      this.acknowledges = hello.caps.includes(ACK);
      if (hello.canResume) this.pushes.resume.begin(hello.resume);
    }
    // Said again once the client has its first handler.
    if (this.isCallable || !hello.caps.includes(REVERSE)) return;
    this.isCallable = true;
    this.owner.onCallable(this);
  }
}
