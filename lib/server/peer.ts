import type { Duplex } from 'node:stream';
import type { CallObserver, CallOptions } from '../calls/pending-call.js';
import { AnswerIterator, type ClientStreamOptions } from '../calls/answer-iterator.js';
import { requestPayload, type ClientRequestOptions } from '../calls/request.js';
import type { StreamFlow } from '../calls/stream-flow.js';
import { Connection, type ConnectionOwner } from '../connection/connection.js';
import { cutIfOverfull, isBackedUp } from '../connection/unread.js';
import { ConnectionLostError } from '../errors/connection.errors.js';
import { CallCancelledError } from '../errors/call.errors.js';
import type { ResolvedServerOptions } from '../options/server-options.js';
import { ACK, CREDIT, REVERSE } from '../protocol/capabilities.js';
import type { Dialect, ProtocolVersion } from '../protocol/dialect.js';
import type { ServerDialects } from '../protocol/dialects.js';
import type { Frame } from '../protocol/frame-writer.js';
import { readHello, readInteger } from '../protocol/guards.js';
import { MessageType, type MessageBody } from '../protocol/message-body.js';
import { AdmittedCalls, type AdmittedCaller, type AdmittedCallsOwner } from './admitted-calls.js';
import type { PushOptions, PushOutcome } from './client-connection.js';
import { PeerCalls, type CallablePeer, type PeerCallsOwner } from './peer-calls.js';
import { PeerLiveness, type LivePeer } from './peer-liveness.js';
import { PeerPushes, type PeerPushesOwner } from './peer-pushes.js';
import { PushOperator } from './push.js';
import type { SilentPeers } from './silent-peers.js';

/** What a peer tells the server it belongs to. */
export interface PeerOwner extends PeerPushesOwner, PeerCallsOwner, AdmittedCallsOwner {
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
}

/** While draining, a client that has not said anything yet gets this long to show what it is. */
const UNKNOWN_PEER_GRACE_MS = 500;

/** The server's view of one client: its greeting and hello, what it sends, and how it leaves. */
export class Peer implements AdmittedCaller, CallablePeer, ConnectionOwner, LivePeer {
  readonly connectedAt = Date.now();
  readonly hasNeighbours = true;
  isUpgraded = false;
  clientName: string | undefined;
  accountId: string | undefined;
  isCallable = false;
  acknowledges = false;
  takesCredit = false;
  maxFrameBytes: number;

  /** What it calls here. */
  readonly calls: AdmittedCalls;
  readonly pushes: PeerPushes;
  readonly liveness: PeerLiveness;
  private readonly connection: Connection;
  /** Made with the first call to the client. */
  private callsThere: PeerCalls | undefined;
  private leaveTimer: NodeJS.Timeout | undefined;

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
    this.calls = new AdmittedCalls(this, this.connection, options, owner);
    this.pushes = new PeerPushes(this, this.connection, owner, options.maxSendQueueBytes);
    this.liveness = new PeerLiveness(this, this.connection, options, owner.silentPeers);
    const { capabilities } = owner.dialects.v2;
    const caps = options.takeOver ? [...capabilities, 'take_over'] : capabilities;
    this.connection.send(
      owner.dialects.greeting({ conn_id: id, caps, max_frame_bytes: options.maxFrameBytes }),
    );
  }

  get dialect(): Dialect {
    return this.connection.dialect;
  }

  get flow(): StreamFlow {
    return this.calls;
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

  get lastActivityAt(): number {
    return this.connection.lastReceivedAt;
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

  /** Whether it leaves so much unread that it gets nothing more for now. */
  get isBackedUp(): boolean {
    return isBackedUp(this.connection, this.options.maxSendQueueBytes);
  }

  /** Calls to the client that it has not answered. */
  get pendingThere(): number {
    return this.callsThere?.size ?? 0;
  }

  get isLeaving(): boolean {
    return this.calls.isDraining && this.calls.isIdle;
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

  iterate<T>(
    type: string,
    data: unknown,
    options: ClientStreamOptions = {},
  ): AsyncIterableIterator<T, undefined> {
    const { madeCalls } = this;
    return new AnswerIterator<T>(madeCalls, type, madeCalls.encode(data), options);
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

  sendFrame(frame: Frame, type: MessageType, isOneOfMany = false): void {
    // A single large frame is never cut off, only what piles up behind it.
    if (isOneOfMany && cutIfOverfull(this.connection, this.options.maxSendQueueBytes)) return;
    this.owner.counters.onSent(type);
    this.connection.send(frame);
  }

  noteError(code: string): void {
    this.owner.counters.errors.add(code);
  }

  close(reason?: string): void {
    if (reason !== undefined && this.isUpgraded) this.notify('CLOSED', reason);
    this.pushes.resume.forget();
    this.end();
  }

  /**
   * Takes no more calls. An upgraded client is told, sends its next calls elsewhere and leaves once it has its
   * answers; so no call of it is ever cut off. A plain one is ended when it is idle.
   */
  drain(): void {
    const isUnknown = this.bytesReceived === 0;
    // One that has said nothing yet may be an upgraded client whose first requests are on their way.
    if (this.isUpgraded || isUnknown) this.notify('GOING_AWAY', 'The server is shutting down.');
    this.calls.drain();
    if (isUnknown) this.leaveTimer = setTimeout(() => this.endIfDone(), UNKNOWN_PEER_GRACE_MS);
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
    this.owner.counters.onMessage(body.msg_type);
    switch (body.msg_type) {
      case MessageType.Request:
        this.calls.receive('request', body, bytes);
        return;
      case MessageType.Push:
        this.calls.receive('event', body, bytes);
        return;
      case MessageType.Heartbeat:
        this.onHeartbeat(body);
        return;
      case MessageType.Error:
        // A plain server ignores such frames, so a plain client may mean anything by them.
        if (this.isUpgraded && body.request_id !== '') {
          this.calls.cancel(body.request_id, new CallCancelledError());
        }
        return;
      case MessageType.Response:
        this.callsThere?.onResponse(body);
    }
  }

  onEnd(): void {
    // One of ours never half-closes with calls pending, so it has gone; a plain one may wait for its answers.
    if (this.isUpgraded || this.calls.isIdle) this.connection.end();
    else this.liveness.onHalfOpen();
  }

  onClose(cause: Error | undefined): void {
    this.liveness.stop();
    clearTimeout(this.leaveTimer);
    this.pushes.resume.park();
    this.callsThere?.failAll(cause);
    this.calls.onClosed(cause ?? new ConnectionLostError(`client ${this.id}`));
    this.owner.onClosed(this, cause);
  }

  onDrain(): void {
    this.pushes.drain();
    this.calls.onDrain();
  }

  onCallSettled(): void {
    if (!this.connection.isOpen && this.calls.isIdle) this.owner.onIdle(this);
    if (this.liveness.isHalfOpen || this.calls.isDraining) this.endIfDone();
  }

  private get madeCalls(): PeerCalls {
    this.callsThere ??= new PeerCalls(this, this.options, this.owner);
    return this.callsThere;
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
    if (body.credit !== undefined && this.isUpgraded) {
      this.calls.addCredit(body.request_id, readInteger(body.credit) ?? 0);
      return;
    }
    if (body.hello === undefined && body.resume !== undefined) {
      this.pushes.resume.confirm();
      return;
    }
    if (!this.liveness.admit(body)) return;
    if (body.take_over === true && this.isUpgraded) {
      this.owner.onTakeOverAsked(this);
      return;
    }
    this.liveness.answer(body);
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
      this.takesCredit = hello.caps.includes(CREDIT);
      if (hello.canResume) this.pushes.resume.begin(hello.resume);
    }
    // Said again once the client has its first handler.
    if (this.isCallable || !hello.caps.includes(REVERSE)) return;
    this.isCallable = true;
    this.owner.onCallable(this);
  }
}
