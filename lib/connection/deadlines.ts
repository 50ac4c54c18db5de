/** Something with a time limit; an entry of the list that {@link Deadlines} keeps. */
export interface Expiring {
  /** Owned by {@link Deadlines}. */
  lane: DeadlineLane | undefined;
  previous: Expiring | undefined;
  following: Expiring | undefined;
  expiresAt: number;
  onExpired(): void;
}

/** Beyond, a lane goes as soon as it is empty: a peer may choose another limit for every single call. */
const KEPT_LANES = 64;

/**
 * Time limits of many calls, of which almost none ever passes. Calls with the same limit expire in the order in
 * which they were made, so each limit needs one list and one timer, and making or ending a call moves two
 * pointers instead of starting and clearing a timer.
 */
export class Deadlines {
  private readonly lanes = new Map<number, DeadlineLane>();

  /**
   * @param timeoutMs 0 for no limit
   * @param now `performance.now()`, which the caller has read already
   */
  add(item: Expiring, timeoutMs: number, now: number): void {
    if (timeoutMs <= 0) return;
    let lane = this.lanes.get(timeoutMs);
    if (lane === undefined) {
      lane = new DeadlineLane(timeoutMs, (empty) => this.drop(empty));
      this.lanes.set(timeoutMs, lane);
    }
    lane.add(item, now);
  }

  remove(item: Expiring): void {
    const { lane } = item;
    if (lane === undefined) return;
    lane.remove(item);
    if (lane.isEmpty && this.lanes.size > KEPT_LANES) {
      lane.stop();
      this.drop(lane);
    }
  }

  /** Stops the timers that are kept for what may still come. */
  close(): void {
    for (const lane of this.lanes.values()) lane.stop();
    this.lanes.clear();
  }

  private drop(lane: DeadlineLane): void {
    if (this.lanes.get(lane.timeoutMs) === lane) this.lanes.delete(lane.timeoutMs);
  }
}

/** The calls with one time limit, in the order in which they expire. */
export class DeadlineLane {
  private first: Expiring | undefined;
  private last: Expiring | undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    readonly timeoutMs: number,
    private readonly onEmpty: (lane: DeadlineLane) => void,
  ) {}

  get isEmpty(): boolean {
    return this.first === undefined;
  }

  stop(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  add(item: Expiring, now: number): void {
    item.lane = this;
    item.expiresAt = now + this.timeoutMs;
    item.previous = this.last;
    item.following = undefined;
    if (this.last === undefined) this.first = item;
    else this.last.following = item;
    this.last = item;
    // The timer stays when the list empties for a moment, which under load it does all the time.
    this.timer ??= setTimeout(this.onTimer, this.timeoutMs);
    if (this.first === item) this.timer.ref();
  }

  remove(item: Expiring): void {
    if (item.lane !== this) return;
    const { previous, following } = item;
    if (previous === undefined) this.first = following;
    else previous.following = following;
    if (following === undefined) this.last = previous;
    else following.previous = previous;
    item.lane = undefined;
    item.previous = undefined;
    item.following = undefined;
    // With nothing to wait for, the timer must not keep the process alive.
    if (this.first === undefined) this.timer?.unref();
  }

  private readonly onTimer = (): void => {
    this.timer = undefined;
    const now = performance.now();
    while (this.first !== undefined && this.first.expiresAt <= now) {
      const item = this.first;
      this.remove(item);
      item.onExpired();
    }
    if (this.first === undefined) this.onEmpty(this);
    else this.timer ??= setTimeout(this.onTimer, Math.max(1, this.first.expiresAt - now));
  };
}
