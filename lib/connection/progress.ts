/** Lets whoever closes wait for what ends piece by piece. */
export class Progress {
  /** To be called with every piece that ends; undefined while nobody waits. */
  onStep: (() => void) | undefined;

  /** Resolves once `isReached`, or after `timeoutMs`. One waits at a time. */
  until(isReached: () => boolean, timeoutMs?: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.onStep = undefined;
        resolve();
      };
      const timer = timeoutMs === undefined ? undefined : setTimeout(done, timeoutMs);
      this.onStep = () => {
        if (isReached()) done();
      };
      this.onStep();
    });
  }
}
