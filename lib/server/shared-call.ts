import type { CallAudience } from '../calls/call-channel.js';
import type { IncomingCall } from '../calls/incoming-call.js';
import type { PausedStream } from '../calls/stream-flow.js';
import type { DeadlineLane, Expiring } from '../connection/deadlines.js';
import type { Frame } from '../protocol/frame-writer.js';
import { MessageType } from '../protocol/message-body.js';
import type { Caller } from './client-connection.js';

export interface SharedCallOwner {
  /** So many more bytes of answers are kept. */
  onKept(bytes: number): void;
  onExpired(shared: SharedCall): void;
}

/** Above this an answer is not kept; a duplicate then hears so, but still does not run. */
const LARGEST_KEPT_ANSWER_BYTES = 1024 * 1024;

/** A call that may come more than once: its answer so far, and the connections that wait for it. */
export class SharedCall implements Expiring, CallAudience<Caller> {
  lane: DeadlineLane | undefined;
  previous: Expiring | undefined;
  following: Expiring | undefined;
  expiresAt = 0;
  keptBytes = 0;

  /** Undefined once it is too large. */
  private frames: Frame[] | undefined = [];
  private readonly callers = new Set<Caller>();
  /** The stream that answers it, once it has had to pause. */
  private stream: PausedStream | undefined;

  constructor(
    readonly callId: string,
    /** Undefined once it is finished: what was asked need not be kept. */
    public call: IncomingCall<Caller> | undefined,
    caller: Caller,
    private readonly owner: SharedCallOwner,
  ) {
    this.callers.add(caller);
  }

  /** Whether anybody waits for the answer now. */
  get isWanted(): boolean {
    return this.callers.size > 0;
  }

  /** The connection that asked last. */
  get latestCaller(): Caller | undefined {
    return [...this.callers].at(-1);
  }

  /** Gives `caller` the answer so far, and what is still to come of it. False if that is not possible. */
  attach(caller: Caller): boolean {
    const isPossible = this.replay(caller);
    if (isPossible) {
      this.callers.add(caller);
      this.stream?.resume();
    }
    return isPossible;
  }

  /** Gives `caller` the answer so far. False if it was not kept, which `caller` is told. */
  replay(caller: Caller): boolean {
    // On one and the same connection the answer is on its way already.
    if (this.callers.has(caller)) return true;
    if (this.frames === undefined) {
      const text = 'The call was started before; its answer is too large to be kept.';
      const detail = { code: 'ANSWER_NOT_KEPT', message: text };
      caller.sendFrame(
        caller.dialect.failure(this.callId, text, detail, Infinity),
        MessageType.Response,
        true,
      );
      return false;
    }
    for (const frame of this.frames) caller.sendFrame(frame, MessageType.Response, true);
    return true;
  }

  /** Whether its stream makes nothing more for now; it waits for somebody to hear it. */
  get isHeldBack(): boolean {
    return this.latestCaller?.flow.isHeldBack ?? true;
  }

  pauseStream(stream: PausedStream): void {
    this.stream = stream;
    this.latestCaller?.flow.pauseStream(stream);
  }

  forgetStream(stream: PausedStream): void {
    for (const caller of this.callers) caller.flow.forgetStream(stream);
  }

  isAwaitedBy(caller: Caller): boolean {
    return this.callers.has(caller);
  }

  /** False if `caller` did not wait for it. */
  detach(caller: Caller): boolean {
    return this.callers.delete(caller);
  }

  /** The answer is complete. */
  finish(): void {
    this.call = undefined;
    this.stream = undefined;
    this.callers.clear();
  }

  sendFrame(frame: Frame, type: MessageType, isOneOfMany: boolean): void {
    for (const caller of this.callers) caller.sendFrame(frame, type, isOneOfMany);
    if (this.frames === undefined) return;
    const fits = this.keptBytes + frame.length <= LARGEST_KEPT_ANSWER_BYTES;
    const more = fits ? frame.length : -this.keptBytes;
    if (fits) this.frames.push(frame);
    else this.frames = undefined;
    this.keptBytes += more;
    this.owner.onKept(more);
  }

  onExpired(): void {
    this.owner.onExpired(this);
  }
}
