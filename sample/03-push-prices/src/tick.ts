import type { SlowConsumerPolicy } from 'nestjs-unix-socket';

/** The feed has a room for each, and pushes every tick to all of them. */
export const POLICIES = [
  'disconnect',
  'dropNewest',
  'dropOldest',
  'latest',
  'volatile',
] as const satisfies readonly SlowConsumerPolicy[];

export interface Tick {
  /** Counts up, so that gaps show. */
  readonly n: number;
  readonly symbol: string;
  readonly price: number;
  /** The room it was pushed to. */
  readonly room: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** Makes a tick of two kilobytes, so that a client that does not read is soon noticed. */
  readonly book: string;
}

/** What one subscription has seen. */
export interface Summary {
  readonly received: number;
  readonly missed: number;
  /** Ticks that were more than half a second old when they were handled. */
  readonly late: number;
  readonly longestGap: string;
  /** Of the last tick that was handled, milliseconds. */
  readonly lastAgeMs: number;
  readonly connections: number;
}

const LATE_MS = 500;

/** Counts the ticks of one subscription. */
export class Tally {
  connections = 0;
  private received = 0;
  private late = 0;
  private missed = 0;
  private previous: number | undefined;
  private gap: readonly [after: number, before: number] = [0, 0];
  private lastAgeMs = 0;

  add({ n, at }: Tick): void {
    const { previous = n - 1 } = this;
    this.previous = n;
    this.received++;
    this.missed += n - previous - 1;
    if (n - previous > this.gap[1] - this.gap[0]) this.gap = [previous, n];
    this.lastAgeMs = Date.now() - at;
    if (this.lastAgeMs > LATE_MS) this.late++;
  }

  summary(): Summary {
    const { received, missed, late, lastAgeMs, connections } = this;
    const [after, before] = this.gap;
    return {
      received,
      missed,
      late,
      lastAgeMs,
      connections,
      longestGap: missed === 0 ? '' : `${after} .. ${before}`,
    };
  }
}
