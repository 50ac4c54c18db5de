/** Measures the time from a numbered probe to its answer. Only the latest probe counts. */
export class RoundTrip {
  /** Milliseconds; undefined before the first answer. */
  lastMs: number | undefined;
  private probe = 0;
  private sentAt = 0;

  /** The number to send with the probe. */
  start(): number {
    this.sentAt = performance.now();
    return ++this.probe;
  }

  /** @param answer what the peer sent back, whatever it is. Returns whether it answers the latest probe */
  finish(answer: unknown): boolean {
    if (this.probe === 0 || answer !== this.probe) return false;
    this.lastMs = performance.now() - this.sentAt;
    return true;
  }
}
