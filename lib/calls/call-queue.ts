import { Slots } from '../connection/slots.js';
import type { CallChannel } from './call-channel.js';
import type { CallOwner, IncomingCall } from './incoming-call.js';

export interface CallQueueLimits {
  /** Calls that run at the same time; 1 keeps their order. */
  readonly maxConcurrent: number;
  /** Calls that may wait. */
  readonly maxQueued: number;
  /** Bytes of calls that may wait. */
  readonly maxQueuedBytes: number;
}

/**
 * The calls of one connection: so many run, so many more wait their turn, in order. Reading goes on whatever
 * happens here, so that heartbeats and cancels are heard while every slot is busy.
 */
export class CallQueue<C extends CallChannel = CallChannel> implements CallOwner<C> {
  private readonly running = new Slots<IncomingCall<C>>();
  private waiting: IncomingCall<C>[] = [];
  /** Where the next waiting call stands; everything before it has been taken. */
  private head = 0;
  /** Calls behind `head` that ended while they waited. */
  private gone = 0;
  private waitingBytes = 0;
  private isPumping = false;

  constructor(
    private readonly limits: CallQueueLimits,
    /** Runs the handler. */
    private readonly start: (call: IncomingCall<C>) => void,
    /** Hears of every call that ends, run or not. */
    private readonly onSettled: (call: IncomingCall<C>) => void,
    /** While true nothing new is started: the caller does not read its answers. */
    private readonly isHeldBack: () => boolean,
  ) {}

  get runningCount(): number {
    return this.running.size;
  }

  get waitingCount(): number {
    return this.waiting.length - this.head - this.gone;
  }

  get isIdle(): boolean {
    return this.running.size === 0 && this.waitingCount === 0;
  }

  /** Whether the queue is at most half full: time to let a stopped flow go on. */
  get hasRoom(): boolean {
    const { maxQueued, maxQueuedBytes } = this.limits;
    return this.waitingCount * 2 <= maxQueued && this.waitingBytes * 2 <= maxQueuedBytes;
  }

  /** Starts the call or lets it wait. False if there is no room: it was not taken. */
  add(call: IncomingCall<C>): boolean {
    if (this.running.size < this.limits.maxConcurrent && this.waitingCount === 0 && !this.isHeldBack()) {
      this.run(call);
      return true;
    }
    const { maxQueued, maxQueuedBytes } = this.limits;
    if (this.waitingCount >= maxQueued || this.waitingBytes + call.message.bytes > maxQueuedBytes)
      return false;
    this.enqueue(call);
    return true;
  }

  /** Lets the call wait although there is no room; whoever does this has to stop the flow. */
  enqueue(call: IncomingCall<C>): void {
    call.isWaiting = true;
    this.waiting.push(call);
    this.waitingBytes += call.message.bytes;
  }

  /** Cancels the call with this id, running or waiting. */
  cancel(id: unknown, reason: Error): void {
    const isMeant = (call: IncomingCall<C>): boolean =>
      call.message.id === id && call.message.kind === 'request';
    const call =
      this.running.find(isMeant) ?? this.waiting.find((waiting) => waiting.isWaiting && isMeant(waiting));
    call?.cancel(reason);
  }

  /** @param keeps says of a call that it goes on. Returns how many were cancelled. */
  cancelAll(reason: Error, keeps: (call: IncomingCall<C>) => boolean = () => false): number {
    const calls = this.takeWaiting((call) => !keeps(call));
    for (const call of this.running.toArray()) if (!keeps(call)) calls.push(call);
    for (const call of calls) call.cancel(reason);
    return calls.length;
  }

  /** Removes and returns the calls that wait, or those of them that are `meant`. */
  takeWaiting(isMeant: (call: IncomingCall<C>) => boolean = () => true): IncomingCall<C>[] {
    const calls = this.waiting.filter((call) => call.isWaiting && isMeant(call));
    for (const call of calls) {
      call.isWaiting = false;
      this.waitingBytes -= call.message.bytes;
    }
    this.tidy();
    return calls;
  }

  /** Starts what waits, as far as there is room. */
  pump(): void {
    // A call that ends within its own start comes back here; the loop below goes on for it.
    if (this.isPumping) return;
    this.isPumping = true;
    while (this.waitingCount > 0 && this.running.size < this.limits.maxConcurrent && !this.isHeldBack()) {
      const call = this.waiting[this.head] as IncomingCall<C>;
      this.head++;
      // The taken part is cut off when it is the larger one: each call is moved at most once on average.
      if (this.head * 2 > this.waiting.length) {
        this.waiting = this.waiting.slice(this.head);
        this.head = 0;
      }
      if (call.isWaiting) {
        call.isWaiting = false;
        this.waitingBytes -= call.message.bytes;
        this.run(call);
      } else {
        this.gone--;
      }
    }
    this.isPumping = false;
  }

  onCallSettled(call: IncomingCall<C>): void {
    if (call.isWaiting) this.leave(call);
    else this.running.remove(call);
    if (this.waitingCount > 0) this.pump();
    this.onSettled(call);
  }

  /** It ended before its turn, and gives its place to others. */
  private leave(call: IncomingCall<C>): void {
    call.isWaiting = false;
    this.waitingBytes -= call.message.bytes;
    this.gone++;
    if (this.gone * 2 > this.waiting.length - this.head) this.tidy();
  }

  private tidy(): void {
    this.waiting = this.waiting.filter((call) => call.isWaiting);
    this.head = 0;
    this.gone = 0;
  }

  private run(call: IncomingCall<C>): void {
    this.running.add(call);
    call.state = 'running';
    this.start(call);
  }
}
