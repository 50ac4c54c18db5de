/** More heartbeats than this within a second are read and not answered. */
const ANSWERED_BEATS_PER_SECOND = 20;
const WINDOW_MS = 1_000;

/** Keeps a peer that beats without measure from being answered without measure. */
export class BeatLimiter {
  private windowStart = -Infinity;
  private beats = 0;

  /** Whether the heartbeat that came now is to be answered. */
  admit(): boolean {
    const now = performance.now();
    if (now - this.windowStart >= WINDOW_MS) {
      this.windowStart = now;
      this.beats = 0;
    }
    return ++this.beats <= ANSWERED_BEATS_PER_SECOND;
  }
}
