import { randomBytes } from 'node:crypto';
import type { PushFrames } from '../protocol/push-frames.js';
import type { RoomPosition } from '../protocol/room-positions.js';
import type { ResumeSession } from './resume-sessions.js';

/** A push to kept rooms. One that went to several rooms is in the log of each. */
export interface KeptPush {
  readonly frames: PushFrames;
  /** Its number in each of its kept rooms. */
  readonly seq: readonly RoomPosition[];
  /** Counts all kept pushes of the server. */
  readonly ordinal: number;
  /** `performance.now()` */
  readonly pushedAt: number;
  /** Whom `except` named. */
  readonly excluded: ReadonlySet<ResumeSession>;
  /** A function chose whom to leave out. It could not be asked about clients that were away, so they do not get it. */
  readonly isForPresent: boolean;
}

export interface RoomLogLimits {
  readonly windowMs: number;
  readonly maxPushes: number;
  readonly maxBytes: number;
}

const OVERHEAD_BYTES = 200;
const BYTES_PER_EXCLUDED = 32;

/** The newest pushes of one room, bounded in count, bytes and age, without holes: the last one has number `n`. */
export class RoomLog {
  /** As long as it stays the same, no number was given twice. */
  readonly epoch = randomBytes(8).toString('hex');
  /** Number of the last push; 0 before the first. */
  n = 0;
  lastUsedAt = performance.now();
  bytes = 0;
  private pushes: KeptPush[] = [];
  private head = 0;

  constructor(
    readonly room: string,
    private readonly limits: RoomLogLimits,
  ) {}

  get position(): RoomPosition {
    return { room: this.room, epoch: this.epoch, n: this.n };
  }

  get length(): number {
    return this.pushes.length - this.head;
  }

  /** The push has number `n + 1` here. */
  append(push: KeptPush): void {
    this.n++;
    this.lastUsedAt = push.pushedAt;
    this.pushes.push(push);
    this.bytes += sizeOf(push);
    this.trim(push.pushedAt);
  }

  /** Those with numbers above `n`, as far as they are still there. */
  since(n: number): readonly KeptPush[] {
    const missing = Math.min(this.n - n, this.length);
    return missing <= 0 ? [] : this.pushes.slice(-missing);
  }

  /** Forgets what is beyond the limits. */
  trim(now: number): void {
    const { windowMs, maxPushes, maxBytes } = this.limits;
    for (let oldest = this.pushes[this.head]; oldest !== undefined; oldest = this.pushes[this.head]) {
      if (this.length <= maxPushes && this.bytes <= maxBytes && now - oldest.pushedAt <= windowMs) break;
      this.bytes -= sizeOf(oldest);
      this.head++;
    }
    // What was taken is let go once that is the larger part; at once when nothing is left.
    if (this.head * 2 <= this.pushes.length && this.length > 0) return;
    this.pushes = this.pushes.slice(this.head);
    this.head = 0;
  }
}

function sizeOf({ frames, excluded }: KeptPush): number {
  return frames.bytes + OVERHEAD_BYTES + excluded.size * BYTES_PER_EXCLUDED;
}
