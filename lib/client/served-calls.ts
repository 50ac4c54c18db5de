import type { CallChannel } from '../calls/call-channel.js';
import { CallQueue } from '../calls/call-queue.js';
import type { CallRunner } from '../calls/call-runner.js';
import { IncomingCall } from '../calls/incoming-call.js';
import { readIncoming } from '../calls/incoming-message.js';
import type { PausedStream, StreamFlow } from '../calls/stream-flow.js';
import { CallCancelledError } from '../errors/call.errors.js';
import type { ResolvedLinkOptions } from '../options/client-options.js';
import type { MessageBody } from '../protocol/message-body.js';

/** What the calls of a server need of the connection they come over. */
export interface ServedChannel extends CallChannel {
  /** Calls of ours on it that wait for their answer. */
  readonly inFlight: number;
  /** Whether the server leaves so much unread that it gets nothing more for now. */
  readonly isBackedUp: boolean;
  readonly isConnected: boolean;
}

export interface ServedCallsOwner<C extends ServedChannel> {
  readonly runner: CallRunner<C>;
  /** The link is closing. */
  readonly isClosing: boolean;
  onServed(channel: C): void;
}

/** The calls that the server makes to us over one connection. */
export class ServedCalls<C extends ServedChannel> implements StreamFlow {
  private readonly queue: CallQueue<C>;

  constructor(
    private readonly channel: C,
    options: ResolvedLinkOptions,
    private readonly owner: ServedCallsOwner<C>,
  ) {
    this.queue = new CallQueue(
      {
        maxConcurrent: options.maxConcurrentPerConnection,
        maxQueued: options.maxQueuedPerConnection,
        maxQueuedBytes: options.maxQueuedBytesPerConnection,
        maxReservedBytes: options.maxSendQueueBytes,
      },
      (call) => owner.runner.run(call),
      (call) => {
        owner.runner.onSettled(call);
        owner.onServed(channel);
      },
      () => channel.isBackedUp,
      () => channel.inFlight,
    );
  }

  /** Whether their streams make nothing more for now; nobody reads what is made once the connection ends. */
  get isHeldBack(): boolean {
    return this.queue.isHeldBack || !this.channel.isConnected;
  }

  get runningCount(): number {
    return this.queue.runningCount;
  }

  get waitingCount(): number {
    return this.queue.waitingCount;
  }

  get isIdle(): boolean {
    return this.queue.isIdle;
  }

  pauseStream(stream: PausedStream): void {
    this.queue.pauseStream(stream);
  }

  forgetStream(stream: PausedStream): void {
    this.queue.forgetStream(stream);
  }

  /** @param bytes size of the body */
  onRequest(body: MessageBody, bytes: number): void {
    const call = new IncomingCall<C>(this.channel, readIncoming('request', body, bytes), this.queue);
    const { deadlineMs } = call.message;
    if (deadlineMs !== undefined) this.owner.runner.limit(call, deadlineMs);
    if (call.isSettled) return;
    // What we still wait for may itself be waiting for this.
    if (this.owner.isClosing && this.channel.inFlight === 0) {
      call.refuse('DRAINING', 'The client is closing; the call was not started.');
    } else if (!this.queue.add(call)) {
      this.channel.noteError('OVERLOADED');
      call.refuse('OVERLOADED', 'The client has no room for more calls; it was not started.');
    }
  }

  cancel(id: unknown): void {
    this.queue.cancel(id, new CallCancelledError());
  }

  /** The server takes so many more values of the stream that answers this request. */
  addCredit(id: unknown, values: number): void {
    this.queue.find(id)?.addCredit(values);
  }

  /** Returns how many that were. */
  cancelAll(reason: Error): number {
    return this.queue.cancelAll(reason);
  }

  /** The server reads again. */
  onDrain(): void {
    this.queue.onDrain();
  }

  /** Sends the answers that wait, read or not: nothing follows. */
  flush(): void {
    this.queue.flush();
  }

  /** Starts what waits, as far as there is room now. */
  pump(): void {
    this.queue.pump();
  }
}
