import { CallQueue } from '../calls/call-queue.js';
import type { CallRunner } from '../calls/call-runner.js';
import { IncomingCall } from '../calls/incoming-call.js';
import { readIncoming } from '../calls/incoming-message.js';
import type { PausedStream, StreamFlow } from '../calls/stream-flow.js';
import type { Connection } from '../connection/connection.js';
import type { ResolvedServerOptions } from '../options/server-options.js';
import type { MessageBody } from '../protocol/message-body.js';
import type { Caller } from './client-connection.js';
import type { Deduplicator } from './deduplicator.js';

/** The client whose calls these are. */
export interface AdmittedCaller extends Caller {
  readonly isUpgraded: boolean;
  readonly isBackedUp: boolean;
  /** Calls to it that it has not answered. */
  readonly pendingThere: number;
  noteError(code: string): void;
  /** A call of it has ended, and perhaps room was made by that. */
  onCallSettled(): void;
}

export interface AdmittedCallsOwner {
  readonly runner: CallRunner<Caller>;
  /** Set if calls that clients repeat are recognised. */
  readonly deduplicator: Deduplicator | undefined;
}

const SHUTTING_DOWN = 'The server is shutting down; the call was not started.';

/** The calls that one client makes: which are taken, refused, known already, or keep it from being read. */
export class AdmittedCalls implements StreamFlow {
  /** Whether the client is not read from until there is room. */
  isPaused = false;
  /** Whether no more are taken. */
  isDraining = false;
  private readonly queue: CallQueue<Caller>;

  constructor(
    private readonly caller: AdmittedCaller,
    private readonly connection: Connection,
    options: ResolvedServerOptions,
    private readonly owner: AdmittedCallsOwner,
  ) {
    const isSequential = options.handling === 'sequential';
    this.queue = new CallQueue(
      {
        maxConcurrent: isSequential ? 1 : options.maxConcurrentPerConnection,
        maxQueued: options.maxQueuedPerConnection,
        maxQueuedBytes: options.maxQueuedBytesPerConnection,
        maxReservedBytes: options.maxSendQueueBytes,
      },
      (call) => owner.runner.run(call),
      (call) => this.onSettled(call),
      () => caller.isBackedUp,
      // Their order is the point of sequential handling, so there none begins before the one before has ended.
      () => (isSequential ? 0 : caller.pendingThere),
    );
  }

  /** Whether none runs or waits; some may when the connection is long gone. */
  get isIdle(): boolean {
    return this.queue.isIdle;
  }

  get runningCount(): number {
    return this.queue.runningCount;
  }

  get waitingCount(): number {
    return this.queue.waitingCount;
  }

  /** Whether its streams make nothing more for now; nobody reads what is made once the connection ends. */
  get isHeldBack(): boolean {
    return this.queue.isHeldBack || !this.caller.isConnected;
  }

  pauseStream(stream: PausedStream): void {
    this.queue.pauseStream(stream);
  }

  forgetStream(stream: PausedStream): void {
    this.queue.forgetStream(stream);
  }

  receive(kind: 'request' | 'event', body: MessageBody, bytes: number): void {
    const { request_id: id } = body;
    const { caller } = this;
    const deduplicator = kind === 'request' && caller.isUpgraded ? this.owner.deduplicator : undefined;
    if (typeof id === 'string' && deduplicator?.join(id, caller) === true) return;
    const call = new IncomingCall<Caller>(caller, readIncoming(kind, body, bytes), this.queue);
    if (typeof id === 'string') deduplicator?.begin(id, call, caller);
    const { deadlineMs } = call.message;
    if (deadlineMs !== undefined) this.owner.runner.limit(call, deadlineMs);
    if (call.isSettled) return;
    if (this.isDraining && kind === 'request') call.refuse('DRAINING', SHUTTING_DOWN);
    else if (!this.queue.add(call)) this.onOverload(call);
  }

  cancel(id: unknown, reason: Error): void {
    if (this.owner.deduplicator?.cancel(id, this.caller, reason) !== true) this.queue.cancel(id, reason);
  }

  /** The client takes so many more values of the stream that answers this request. */
  addCredit(id: unknown, values: number): void {
    const call = this.owner.deduplicator?.find(id, this.caller) ?? this.queue.find(id);
    call?.addCredit(values);
  }

  /** Returns how many calls that were. */
  cancelAll(reason: Error): number {
    return this.queue.cancelAll(reason);
  }

  /** Takes no more requests. An upgraded client sends those that wait elsewhere; events, never answered, it could not. */
  drain(): void {
    this.isDraining = true;
    if (!this.caller.isUpgraded) return;
    for (const call of this.queue.takeWaiting(({ message }) => message.kind === 'request'))
      call.refuse('DRAINING', SHUTTING_DOWN);
  }

  /** A handler may be waiting for the client, so another one may run. */
  pump(): void {
    this.queue.pump();
  }

  /** The client reads again. */
  onDrain(): void {
    this.queue.onDrain();
  }

  /** Lets all answers out, however much is unread. */
  flush(): void {
    this.queue.flush();
  }

  onClosed(reason: Error): void {
    this.owner.deduplicator?.leave(this.caller, reason);
    // What has run must not run again: whoever asks again gets the answer that is there.
    this.queue.flush(({ shared }) => shared !== undefined);
    // Nobody ever waited for the events, and whoever sends a shared call again waits for it on another connection.
    this.queue.cancelAll(reason, ({ message, shared }) => message.kind === 'event' || shared !== undefined);
  }

  /** No room for another call. A plain peer knows no refusal, so it is not read from until there is room. */
  private onOverload(call: IncomingCall<Caller>): void {
    this.caller.noteError('OVERLOADED');
    if (!this.caller.isUpgraded) {
      this.queue.enqueue(call);
      this.isPaused = true;
      this.connection.pause();
      return;
    }
    call.refuse(
      'OVERLOADED',
      'The server has no room for more calls of this connection; it was not started.',
    );
  }

  private onSettled(call: IncomingCall<Caller>): void {
    this.owner.runner.onSettled(call);
    this.owner.deduplicator?.onCallSettled(call);
    if (this.isPaused && this.queue.hasRoom) {
      this.isPaused = false;
      this.connection.resume();
    }
    this.caller.onCallSettled();
  }
}
