/** Probes that may be under way; a peer that answers none of so many is not measured by the oldest any more. */
const MAX_OUTSTANDING = 64;

/** Measures the time from a numbered probe to its answer, also of one that takes longer than the next probe. */
export class RoundTrip {
  /** Milliseconds, of the latest answer; undefined before the first. */
  lastMs: number | undefined;
  private lastProbe = 0;
  /** `performance.now()` at which each probe without an answer was sent: the last of them is {@link lastProbe}. */
  private readonly sentAt: number[] = [];

  /** The number to send with the probe. */
  start(): number {
    if (this.sentAt.length === MAX_OUTSTANDING) this.sentAt.shift();
    this.sentAt.push(performance.now());
    return ++this.lastProbe;
  }

  /** @param answer what the peer sent back, whatever it is. Returns whether it answers a probe under way */
  finish(answer: unknown): boolean {
    if (!Number.isInteger(answer)) return false;
    const index = this.sentAt.length - 1 - (this.lastProbe - (answer as number));
    const sentAt = this.sentAt[index];
    if (sentAt === undefined) return false;
    this.lastMs = performance.now() - sentAt;
    // Answers come in order, so earlier ones come no more.
    this.sentAt.splice(0, index + 1);
    return true;
  }
}
