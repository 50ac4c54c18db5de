/** What handlers did, in order, for tests that wait for it. */
export class Logbook {
  readonly entries: string[] = [];
  private readonly waiters = new Set<() => void>();

  note(entry: string): void {
    this.entries.push(entry);
    for (const look of [...this.waiters]) look();
  }

  /** How often `entry` was noted. */
  count(entry: string): number {
    return this.entries.filter((noted) => noted === entry).length;
  }

  /** Resolves once `entry` was noted `times` times, also if that is past. */
  until(entry: string, { times = 1, timeoutMs = 5_000 } = {}): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiters.delete(look);
        reject(
          new Error(
            `"${entry}" noted ${this.count(entry)} of ${times} times within ${timeoutMs} ms:\n${this.entries.slice(-20).join('\n')}`,
          ),
        );
      }, timeoutMs);
      const look = (): void => {
        if (this.count(entry) < times) return;
        clearTimeout(timer);
        this.waiters.delete(look);
        resolve();
      };
      this.waiters.add(look);
      look();
    });
  }
}
