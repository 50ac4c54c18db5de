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
import type { CallMaker } from '../calls/request.js';
import type { Deadlines } from '../connection/deadlines.js';
import { NotCallableError, PendingCallsFullError, RefusedError } from '../errors/call.errors.js';
import {
  ConnectionClosedError,
  ConnectionLostError,
  SendQueueFullError,
} from '../errors/connection.errors.js';
import { EncodeError } from '../errors/protocol.errors.js';
import type { UnixSocketError } from '../errors/unix-socket.error.js';
import type { ResolvedServerOptions } from '../options/server-options.js';
import type { Dialect } from '../protocol/dialect.js';
import { extra } from '../protocol/envelope.js';
import type { Frame } from '../protocol/frame-writer.js';
import type { Payload } from '../protocol/payload.js';
import { MessageType, type MessageBody } from '../protocol/message-body.js';
import type { ServerCounters } from './server-counters.js';

/** What the calls to one client need of its connection. */
export interface CallablePeer {
  readonly id: string;
  readonly isConnected: boolean;
  /** Whether it takes calls. */
  readonly isCallable: boolean;
  /** Whether it sends no more of a stream than it is told. */
  readonly takesCredit: boolean;
  /** Whether it acknowledges pushes. */
  readonly acknowledges: boolean;
  /** The server is closing, and nothing keeps the client from leaving at once. */
  readonly isLeaving: boolean;
  readonly queuedBytes: number;
  readonly maxFrameBytes: number;
  /** How it is spoken to. */
  readonly dialect: Dialect;
  readonly pushes: {
    /** Behind the pushes that wait. False if there is no room. */
    offerAcked(frame: Frame): boolean;
  };
  sendFrame(frame: Frame, type: MessageType): void;
  /** One call more is under way: a handler may be waiting for it, so another one may run. */
  onCallMade(): void;
}

export interface PeerCallsOwner {
  /** Of all calls to clients. */
  readonly callDeadlines: Deadlines;
  readonly counters: ServerCounters;
}

/** The calls that this server makes to one client. They end with its connection, and are never repeated. */
export class PeerCalls implements CallHost<CallablePeer>, CallMaker {
  readonly lastError = undefined;
  readonly label: string;
  /** Acknowledged pushes, made as calls are. */
  readonly pushes: CallMaker = {
    encode: (data) => this.encode(data),
    call: (type, payload, options, observer) => this.begin('event', type, payload, options, observer),
    cancel: (call) => this.cancel(call),
    grant: () => undefined,
  };
  private readonly all: PendingCalls<CallablePeer>;

  constructor(
    private readonly peer: CallablePeer,
    private readonly options: ResolvedServerOptions,
    private readonly owner: PeerCallsOwner,
  ) {
    this.label = `client ${peer.id}`;
    // Which end made a call is known from its direction; its connection is part of it for people who read a log.
    this.all = new PendingCalls(`${peer.id}-`);
  }

  /** Sent and not answered. */
  get size(): number {
    return this.all.size;
  }

  encode(data: unknown): Payload {
    if (data === undefined) throw new EncodeError('a call or push needs data; send null for none');
    return this.peer.dialect.encode(data);
  }

  /** @throws InvalidOptionError */
  call(type: string, payload: Payload, options: CallOptions, observer: CallObserver): PendingCall {
    return this.begin('request', type, payload, options, observer);
  }

  cancel(call: PendingCall): void {
    if (call.isSettled) return;
    this.tellCancelled(call);
    call.abandon();
  }

  grant(call: PendingCall, values: number): void {
    if (call.isSettled) return;
    const { peer } = this;
    const frame = peer.takesCredit ? peer.dialect.heartbeat(extra('credit', values), call.id) : undefined;
    if (frame !== undefined) peer.sendFrame(frame, MessageType.Heartbeat);
    this.restartDeadline(call);
  }

  onResponse(body: MessageBody): void {
    const { request_id: id } = body;
    const call = typeof id === 'string' ? this.all.find(id) : undefined;
    // Late, second and unknown answers are ignored.
    if (call === undefined) return;
    if (body.error) {
      call.fail(remoteError(body));
      return;
    }
    call.receive(body);
    if (body.more === true && !call.isSettled) this.restartDeadline(call);
  }

  /** The connection is gone, or is about to be. Returns how many calls had no answer yet. */
  failAll(cause: Error | undefined): number {
    const calls = this.all.inFlightOn(this.peer);
    for (const call of calls) {
      if (this.peer.isConnected) this.tellCancelled(call);
      call.fail(new ConnectionLostError(this.label, { delivery: 'sentNoReply', cause }));
    }
    return calls.length;
  }

  release(call: PendingCall): void {
    this.owner.callDeadlines.remove(call);
    this.all.remove(call as PendingCall<CallablePeer>);
  }

  tellCancelled(call: PendingCall): void {
    if (call.state !== 'sent' || call.kind !== 'request') return;
    const frame = this.peer.dialect.notice(call.id, 'cancelled', undefined);
    if (frame !== undefined) this.peer.sendFrame(frame, MessageType.Error);
  }

  noteFailure(error: UnixSocketError): void {
    this.owner.counters.callFailures.add(error.code);
  }

  private begin(
    kind: 'request' | 'event',
    type: string,
    payload: Payload,
    options: CallOptions,
    observer: CallObserver,
  ): PendingCall {
    const timeoutMs = callTimeoutMs(options, this.options.requestTimeoutMs);
    const now = performance.now();
    const call = new PendingCall<CallablePeer>(this, kind, type, payload, timeoutMs, options, observer, now);
    const refusal = this.refusal(kind);
    this.all.add(call);
    try {
      if (refusal !== undefined) throw refusal;
      this.transmit(call);
    } catch (error) {
      call.state = 'waiting';
      call.fail(error as UnixSocketError);
      return call;
    }
    this.owner.callDeadlines.add(call, timeoutMs, now);
    this.peer.onCallMade();
    return call;
  }

  /** Why no call can be made now. */
  private refusal(kind: 'request' | 'event'): UnixSocketError | undefined {
    const { peer } = this;
    const { maxPendingPerConnection, maxSendQueueBytes } = this.options;
    if (!peer.isConnected) return new ConnectionClosedError(peer.id);
    if (!(kind === 'request' ? peer.isCallable : peer.acknowledges))
      return new NotCallableError(peer.id, kind);
    if (peer.isLeaving && this.size === 0)
      return new RefusedError(
        'DRAINING',
        'The server is closing and its clients leave; the call was not sent.',
      );
    if (this.size >= maxPendingPerConnection)
      return new PendingCallsFullError(peer.id, maxPendingPerConnection);
    if (peer.queuedBytes > maxSendQueueBytes)
      return new SendQueueFullError(peer.queuedBytes, maxSendQueueBytes);
    return undefined;
  }

  private transmit(call: PendingCall<CallablePeer>): void {
    const { peer } = this;
    const { meta, timeoutMs = 0, intake } = call.options;
    const extras = extra('meta', meta) + creditExtra(intake, peer.takesCredit);
    const deadline = timeoutMs > 0 ? extra('deadline_ms', Math.ceil(timeoutMs)) : '';
    const { id, type, payload } = call;
    const { dialect, maxFrameBytes } = peer;
    call.session = peer;
    if (call.kind === 'request') {
      const frame = dialect.request(id, type, payload, extras + deadline, maxFrameBytes);
      call.state = 'sent';
      peer.sendFrame(frame, MessageType.Request);
      return;
    }
    const frame = dialect.push(id, type, payload, `${extras},"ack":true`, maxFrameBytes);
    call.state = 'sent';
    if (frame === undefined || !peer.pushes.offerAcked(frame))
      throw new SendQueueFullError(peer.queuedBytes, this.options.maxSendQueueBytes);
  }

  private restartDeadline(call: PendingCall): void {
    // An explicit time limit bounds the whole call.
    if (call.options.timeoutMs !== undefined) return;
    this.owner.callDeadlines.remove(call);
    const { idleTimeoutMs } = this.options;
    if (idleTimeoutMs === 0 || call.options.intake?.isOpen === false) return;
    this.owner.callDeadlines.add(call, idleTimeoutMs, performance.now());
  }
}
