import { Fifo } from '../connection/fifo.js';
import type { Frame } from '../protocol/frame-writer.js';
import type { PausedStream } from './stream-flow.js';

/** Far more than anybody can mean; sums stay exact. */
const MOST_VALUES = 0x3fff_ffff;

/** Bounds what waits for the callers of one connection. */
export interface ValueStore {
  /** So many more bytes of values wait, or fewer. False if there is no room. */
  reserve(bytes: number): boolean;
  /** The most that may wait. */
  readonly maxReservedBytes: number;
}

/** How many more values of a stream its caller takes, and those that were there before it takes them. */
export class StreamCredit {
  private readonly unsent = new Fifo<Frame>();
  private values = 0;
  /** The stream that makes no more until there is credit again. */
  private paused: PausedStream | undefined;

  constructor(
    values: number,
    private readonly store: ValueStore,
  ) {
    this.add(values);
  }

  get isSpent(): boolean {
    return this.values === 0;
  }

  /** Whether values wait. */
  get isWaiting(): boolean {
    return this.unsent.length > 0;
  }

  add(values: number): void {
    this.values = Math.min(this.values + values, MOST_VALUES);
  }

  /** Pays for one value. False if it has to wait. */
  spend(): boolean {
    if (this.isSpent) return false;
    this.values--;
    return true;
  }

  /** Lets a value wait. False if there is no room. */
  keep(frame: Frame): boolean {
    const hasRoom = this.store.reserve(frame.length);
    if (hasRoom) this.unsent.push(frame);
    return hasRoom;
  }

  /** The next value that waits, if it is paid for. */
  take(): Frame | undefined {
    return this.isWaiting && this.spend() ? this.shift() : undefined;
  }

  /** Forgets what waits. */
  drop(): void {
    while (this.isWaiting) this.shift();
  }

  pause(stream: PausedStream): void {
    this.paused = stream;
  }

  resume(): void {
    const { paused } = this;
    this.paused = undefined;
    paused?.resume();
  }

  private shift(): Frame {
    const frame = this.unsent.shift() as Frame;
    this.store.reserve(-frame.length);
    return frame;
  }
}
