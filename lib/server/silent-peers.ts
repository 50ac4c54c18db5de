/**
 * The connections that may be silent from their beginning, because a V1 client that only listens never says a word. So
 * many, and no more: beyond, silence is judged as that of any other client.
 */
export class SilentPeers {
  private readonly admitted = new Set<object>();

  constructor(private readonly maxCount: number) {}

  /** Whether this one may go on being silent. */
  admit(peer: object): boolean {
    if (!this.admitted.has(peer) && this.admitted.size < this.maxCount) this.admitted.add(peer);
    return this.admitted.has(peer);
  }

  /** It has spoken, or gone. */
  release(peer: object): void {
    this.admitted.delete(peer);
  }
}
