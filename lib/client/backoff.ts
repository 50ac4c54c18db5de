export interface BackoffOptions {
  /** @default 500 */
  readonly initialDelayMs?: number | undefined;
  /** @default 15000 */
  readonly maxDelayMs?: number | undefined;
  /** @default 1.5 */
  readonly multiplier?: number | undefined;
  /** `none`: the delay itself. `full`: random between 0 and the delay, so that many clients do not come back at once. @default 'none' */
  readonly jitter?: 'none' | 'full' | undefined;
  /** Random source in [0, 1). @default Math.random */
  readonly random?: (() => number) | undefined;
}

/** Delays that grow from attempt to attempt up to a maximum. An initial delay above the maximum is given once. */
export class BackoffStrategy {
  private readonly initialDelayMs: number;
  private readonly maxDelayMs: number;
  private readonly multiplier: number;
  private readonly jitter: 'none' | 'full';
  private readonly random: () => number;
  private nextDelayMs: number;

  constructor(options: BackoffOptions = {}) {
    this.initialDelayMs = options.initialDelayMs ?? 500;
    this.maxDelayMs = options.maxDelayMs ?? 15_000;
    this.multiplier = options.multiplier ?? 1.5;
    this.jitter = options.jitter ?? 'none';
    this.random = options.random ?? Math.random;
    this.nextDelayMs = this.initialDelayMs;
  }

  /** The delay before the next attempt, in milliseconds; the one after it will be longer. */
  getDelay(): number {
    const delayMs = this.nextDelayMs;
    this.nextDelayMs = Math.min(delayMs * this.multiplier, this.maxDelayMs);
    return this.jitter === 'full' ? delayMs * this.random() : delayMs;
  }

  reset(): void {
    this.nextDelayMs = this.initialDelayMs;
  }
}
