/** What a heartbeat needs to know and do; the connection's owner provides it. */
export interface HeartbeatTarget {
  /** Grows with every byte the peer sends. Any byte is a sign of life. */
  readonly bytesReceived: number;
  /** Whether the peer is in the middle of a frame. */
  readonly hasPartialFrame: boolean;
  /** How long the peer may be silent now, in milliseconds; 0 for ever. */
  silenceLimitMs(): number;
  beat(): void;
  onSilent(limitMs: number): void;
  onStuckFrame(limitMs: number): void;
}

export interface HeartbeatTimes {
  /** Between two beats; 0 for none. */
  readonly beatIntervalMs: number;
  /** The shortest silence that is a verdict; decides how often to look. 0 for never. */
  readonly silenceTimeoutMs: number;
  /** How long a begun frame may stand without progress. */
  readonly frameTimeoutMs: number;
}

/** Looks within one silence limit: a verdict comes at most this fraction too late. */
const LOOKS_PER_TIMEOUT = 4;

/**
 * Beats, and judges silence. Silence is counted in looks at which nothing new had come, not in clock time:
 * when this very process was stopped or blocked, only one look is missed and no healthy peer is accused.
 */
export class Heartbeat {
  private beatTimer: NodeJS.Timeout | undefined;
  private lookTimer: NodeJS.Timeout | undefined;
  private readonly lookIntervalMs: number;
  private seenBytes = 0;
  private quietLooks = 0;

  constructor(
    private readonly target: HeartbeatTarget,
    private readonly times: HeartbeatTimes,
  ) {
    const shortestMs = Math.min(times.silenceTimeoutMs || Infinity, times.frameTimeoutMs || Infinity);
    this.lookIntervalMs = Math.max(1, Math.ceil(shortestMs / LOOKS_PER_TIMEOUT));
  }

  start(): void {
    this.seenBytes = this.target.bytesReceived;
    if (this.times.beatIntervalMs > 0) {
      this.beatTimer = setInterval(() => this.target.beat(), this.times.beatIntervalMs).unref();
    }
    if (Number.isFinite(this.lookIntervalMs)) {
      this.lookTimer = setInterval(() => this.look(), this.lookIntervalMs).unref();
    }
  }

  stop(): void {
    clearInterval(this.beatTimer);
    clearInterval(this.lookTimer);
  }

  private look(): void {
    const { target } = this;
    if (target.bytesReceived !== this.seenBytes) {
      this.seenBytes = target.bytesReceived;
      this.quietLooks = 0;
      return;
    }
    const { hasPartialFrame } = target;
    const limitMs = target.silenceLimitMs();
    if (limitMs <= 0 && !hasPartialFrame) {
      // Silence that nobody judges is not held against the peer later.
      this.quietLooks = 0;
      return;
    }
    const quietMs = ++this.quietLooks * this.lookIntervalMs;
    const { frameTimeoutMs } = this.times;
    if (hasPartialFrame && frameTimeoutMs > 0 && quietMs >= frameTimeoutMs)
      target.onStuckFrame(frameTimeoutMs);
    else if (limitMs > 0 && quietMs >= limitMs) target.onSilent(limitMs);
  }
}
