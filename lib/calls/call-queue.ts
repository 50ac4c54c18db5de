import { Slots } from '../connection/slots.js';
import type { CallChannel } from './call-channel.js';
import type { CallOwner, IncomingCall } from './incoming-call.js';
import type { PausedStream } from './stream-flow.js';

export interface CallQueueLimits {
  /** Calls that run at the same time; 1 keeps their order. */
  readonly maxConcurrent: number;
  /** Calls that may wait. */
  readonly maxQueued: number;
  /** Bytes of calls that may wait. */
  readonly maxQueuedBytes: number;
  /** Bytes of values that may wait for callers that have said to take no more. */
  readonly maxReservedBytes: number;
}

const none = (): number => 0;

/**
 * So many calls are started at most before the answers of those started earlier are looked at. One read may bring
 * hundreds of calls, and most handlers answer within the same turn, but not within their start.
 */
const BURST_CALLS = 64;

/**
 * The calls of one connection: so many run, so many more wait their turn, in order. Reading goes on whatever
 * happens here, so that heartbeats and cancels are heard while every slot is busy.
 *
 * A caller that does not read its answers is held back: nothing more is started for it, and answers that are
 * ready wait unencoded and keep their slots. So what it costs is bounded, whatever the answers add up to.
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
  /** Calls started since the last breath that have not ended. */
  private burst = 0;
  private isBreathing = false;
  /** Calls whose answers wait for the caller to read, oldest first; also some that ended meanwhile. */
  private unsent: IncomingCall<C>[] = [];
  private reservedBytes = 0;
  /** Streams that make nothing until the caller reads. */
  private pausedStreams: Set<PausedStream> | undefined;

  constructor(
    private readonly limits: CallQueueLimits,
    /** Runs the handler. */
    private readonly start: (call: IncomingCall<C>) => void,
    /** Hears of every call that ends, run or not. */
    private readonly onSettled: (call: IncomingCall<C>) => void,
    /** Whether the caller leaves so much unread that it gets nothing more for now. */
    private readonly isBackedUp: () => boolean,
    /** Calls of ours to the same peer that it has not answered: see {@link hasSlot}. */
    private readonly pendingThere: () => number = none,
  ) {}

  /** Whether nothing is started and no answer leaves until the caller reads. */
  get isHeldBack(): boolean {
    // None overtakes those that wait.
    return this.unsent.length > 0 || this.isBackedUp();
  }

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
    const mayRun = this.hasSlot && !this.isHeldBack;
    if (mayRun && this.waitingCount === 0 && this.burst < BURST_CALLS) {
      this.run(call);
      return true;
    }
    if (mayRun) this.breathe();
    if (!this.isRoomFor(call)) return false;
    this.enqueue(call);
    return true;
  }

  /** Lets the call wait although there is no room; whoever does this has to stop the flow. */
  enqueue(call: IncomingCall<C>): void {
    call.isWaiting = true;
    this.waiting.push(call);
    this.waitingBytes += call.message.bytes;
  }

  /** The request with this id that runs. */
  find(id: unknown): IncomingCall<C> | undefined {
    return this.running.find(({ message }) => message.id === id && message.kind === 'request');
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
    while (this.waitingCount > 0 && this.hasSlot && !this.isHeldBack) {
      if (this.burst >= BURST_CALLS) {
        this.breathe();
        break;
      }
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

  /** The caller reads: what waited for that goes on. */
  onDrain(): void {
    while (this.unsent.length > 0 && !this.isBackedUp()) this.unsent.shift()?.release();
    if (this.pausedStreams !== undefined && !this.isHeldBack) this.resumeStreams();
    this.pump();
  }

  /** Lets all answers out that wait, or those that are `meant`, however much is unread. */
  flush(isMeant: (call: IncomingCall<C>) => boolean = () => true): void {
    const calls = this.unsent;
    this.unsent = [];
    for (const call of calls) if (isMeant(call)) call.release();
  }

  onAnswerWaits(call: IncomingCall<C>): void {
    this.unsent.push(call);
  }

  pauseStream(stream: PausedStream): void {
    this.pausedStreams ??= new Set();
    this.pausedStreams.add(stream);
  }

  forgetStream(stream: PausedStream): void {
    this.pausedStreams?.delete(stream);
  }

  get maxReservedBytes(): number {
    return this.limits.maxReservedBytes;
  }

  reserve(bytes: number): boolean {
    if (this.reservedBytes + bytes > this.limits.maxReservedBytes) return false;
    this.reservedBytes += bytes;
    return true;
  }

  onCallSettled(call: IncomingCall<C>): void {
    if (call.isWaiting) this.leave(call);
    else if (this.running.remove(call) && this.burst > 0) this.burst--;
    if (this.waitingCount > 0) this.pump();
    this.onSettled(call);
  }

  /**
   * Beyond the limit one more may run while every running handler may be waiting for an answer of the peer, which may
   * need one of ours first: both would wait for each other.
   */
  private get hasSlot(): boolean {
    const { size } = this.running;
    return size < this.limits.maxConcurrent || size <= this.pendingThere();
  }

  private resumeStreams(): void {
    const streams = this.pausedStreams ?? [];
    this.pausedStreams = undefined;
    for (const stream of streams) stream.resume();
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

  private isRoomFor(call: IncomingCall<C>): boolean {
    const { maxConcurrent, maxQueued, maxQueuedBytes } = this.limits;
    // Those that wait for a breath only are about to run, and take no room.
    const aboutToRun = this.isBreathing ? maxConcurrent - this.running.size : 0;
    if (this.waitingCount < aboutToRun) return true;
    return (
      this.waitingCount - aboutToRun < maxQueued && this.waitingBytes + call.message.bytes <= maxQueuedBytes
    );
  }

  /** Goes on starting calls once those that run have had the chance to answer. */
  private breathe(): void {
    if (this.isBreathing) return;
    this.isBreathing = true;
    // A tick planned here would come before the promises of this turn; planned by one of them, it comes after all.
    queueMicrotask(() => process.nextTick(this.onBreath));
  }

  private readonly onBreath = (): void => {
    this.isBreathing = false;
    this.burst = 0;
    this.pump();
  };

  private run(call: IncomingCall<C>): void {
    this.running.add(call);
    this.burst++;
    call.state = 'running';
    this.start(call);
  }
}
