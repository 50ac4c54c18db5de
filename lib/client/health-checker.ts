export interface HealthCheckerOptions {
  /** Within this time the last verdict is given again without a check. Milliseconds. @default 5000 */
  readonly intervalMs?: number | undefined;
  /** A check that takes longer is unhealthy. Milliseconds. @default 3000 */
  readonly timeoutMs?: number | undefined;
}

/** Runs a health check at most once per interval and remembers its verdict. */
export class HealthChecker {
  private readonly intervalMs: number;
  private readonly timeoutMs: number;
  private verdict = true;
  private checkedAt = -Infinity;
  private running: Promise<boolean> | undefined;

  constructor(options: HealthCheckerOptions = {}) {
    this.intervalMs = options.intervalMs ?? 5_000;
    this.timeoutMs = options.timeoutMs ?? 3_000;
  }

  /** Unhealthy if `probe` gives false, throws, rejects or takes too long. Checks at the same time share one probe. */
  check(probe: () => boolean | void | Promise<boolean | void>): Promise<boolean> {
    if (performance.now() - this.checkedAt < this.intervalMs) return Promise.resolve(this.verdict);
    this.running ??= this.run(probe).finally(() => {
      this.running = undefined;
    });
    return this.running;
  }

  /** The last verdict; true before the first check. */
  isHealthy(): boolean {
    return this.verdict;
  }

  private async run(probe: () => boolean | void | Promise<boolean | void>): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), this.timeoutMs);
    });
    try {
      // Inside an async function a synchronous throw is a rejection like any other.
      this.verdict = (await Promise.race([(async () => probe())(), timeout])) !== false;
    } catch {
      this.verdict = false;
    } finally {
      clearTimeout(timer);
    }
    this.checkedAt = performance.now();
    return this.verdict;
  }
}
