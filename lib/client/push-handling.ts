/** How the handlers of one push have fared, once all of them are through. */
export interface PushHandling {
  /** Subscriptions that it was for. 0 if nobody handles its type. */
  readonly handlers: number;
  /** Of these, the ones that were too slow for it, or ended before it was their turn. */
  readonly dropped: number;
  /** What the handlers threw or rejected with. */
  readonly errors: readonly unknown[];
}

/** Waits for the handlers of one push. */
export class HandlingTally {
  private left: number;
  private dropped = 0;
  private readonly errors: unknown[] = [];

  constructor(
    private readonly handlers: number,
    private readonly onSettled: (handling: PushHandling) => void,
  ) {
    this.left = handlers;
    if (handlers === 0) this.settle();
  }

  onHandled(errors: readonly unknown[] = []): void {
    this.errors.push(...errors);
    this.step();
  }

  onDropped(): void {
    this.dropped++;
    this.step();
  }

  private step(): void {
    this.left--;
    if (this.left === 0) this.settle();
  }

  private settle(): void {
    const { handlers, dropped, errors } = this;
    this.onSettled({ handlers, dropped, errors });
  }
}
