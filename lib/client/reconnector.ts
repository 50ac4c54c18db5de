import type { ResolvedLinkOptions } from '../options/client-options.js';
import { BackoffStrategy } from './backoff.js';

/** A link counts as stable, and its backoff starts anew, once it was ready for so long. */
const STABLE_AFTER_MS = 5_000;

/** Whether and when a link dials again after a failure or a loss. */
export class Reconnector {
  isEnabled: boolean;
  /** Since the last success. */
  attempts = 0;
  /** Connections made. */
  connections = 0;
  private readonly maxAttempts: number;
  private readonly backoff: BackoffStrategy;
  private timer: NodeJS.Timeout | undefined;
  private readyAt = 0;

  constructor(
    options: ResolvedLinkOptions['reconnect'],
    private readonly dial: () => void,
  ) {
    this.isEnabled = options.enabled;
    this.maxAttempts = options.maxAttempts;
    this.backoff = new BackoffStrategy({ ...options, jitter: 'full' });
  }

  onReady(): void {
    this.attempts = 0;
    this.connections++;
    this.readyAt = performance.now();
  }

  /** Returns the delay before the next attempt, in milliseconds; undefined if there will be none for now. */
  plan(wasReady: boolean): number | undefined {
    if (wasReady && performance.now() - this.readyAt >= STABLE_AFTER_MS) this.backoff.reset();
    const isLastAttempt = this.maxAttempts > 0 && this.attempts >= this.maxAttempts;
    if (!this.isEnabled || isLastAttempt) return undefined;
    const delayMs = this.backoff.getDelay();
    this.timer = setTimeout(this.dial, delayMs);
    return delayMs;
  }

  /** No more attempts for now; the next one is a first one again. */
  rest(): void {
    this.stop();
    this.attempts = 0;
    this.backoff.reset();
  }

  stop(): void {
    clearTimeout(this.timer);
  }
}
