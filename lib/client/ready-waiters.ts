/** Those who await `connect()`, each for so long. */
export class ReadyWaiters {
  private readonly waiters = new Set<{ resolve(): void; reject(error: Error): void }>();

  /** @param onTimeout gives the error after `timeoutMs` */
  wait(timeoutMs: number, onTimeout: () => Error): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (finish: () => void): void => {
        clearTimeout(timer);
        this.waiters.delete(waiter);
        finish();
      };
      const waiter = {
        resolve: () => end(resolve),
        reject: (error: Error) => end(() => reject(error)),
      };
      const timer = setTimeout(() => waiter.reject(onTimeout()), timeoutMs);
      this.waiters.add(waiter);
    });
  }

  resolveAll(): void {
    for (const waiter of [...this.waiters]) waiter.resolve();
  }

  rejectAll(error: Error): void {
    for (const waiter of [...this.waiters]) waiter.reject(error);
  }
}
