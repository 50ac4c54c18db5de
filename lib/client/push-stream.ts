/** A push as it arrived. */
export interface ReceivedPush {
  readonly type: string;
  readonly data: unknown;
  readonly meta: Readonly<Record<string, string>> | undefined;
}

/** May be async: the next push is handled once the promise has settled. */
export type PushHandler = (data: unknown, push: ReceivedPush) => unknown;

/**
 * Hands pushes to their handlers one after the other, in the order they came, beside the reading of the socket:
 * a handler may await a request on the same connection. A handler that is too slow costs the oldest pushes,
 * never memory or the connection.
 */
export class PushStream {
  dropped = 0;
  private readonly byType = new Map<string, Set<PushHandler>>();
  private readonly forAll = new Set<PushHandler>();
  private queue: ReceivedPush[] = [];
  private isPumping = false;

  constructor(
    private readonly maxQueued: number,
    private readonly onHandlerError: (error: unknown, push: ReceivedPush) => void,
    private readonly onDropped: () => void,
  ) {}

  /** @param type undefined for every type. Returns the function that ends the subscription. */
  subscribe(type: string | undefined, handler: PushHandler): () => void {
    const handlers = type === undefined ? this.forAll : (this.byType.get(type) ?? new Set());
    if (type !== undefined) this.byType.set(type, handlers);
    // A function subscribed twice is two subscriptions.
    const own: PushHandler = (data, push) => handler(data, push);
    handlers.add(own);
    return () => {
      handlers.delete(own);
      // Called again, it must not end what others have begun since.
      if (type !== undefined && handlers.size === 0 && this.byType.get(type) === handlers)
        this.byType.delete(type);
    };
  }

  deliver(push: ReceivedPush): void {
    if (this.forAll.size === 0 && !this.byType.has(push.type)) return;
    if (this.queue.length >= this.maxQueued) {
      this.queue.shift();
      this.dropped++;
      this.onDropped();
    }
    this.queue.push(push);
    if (!this.isPumping) void this.pump();
  }

  private async pump(): Promise<void> {
    this.isPumping = true;
    for (let push = this.queue.shift(); push !== undefined; push = this.queue.shift()) {
      for (const handler of [...(this.byType.get(push.type) ?? []), ...this.forAll]) {
        try {
          const result: unknown = handler(push.data, push);
          if (result instanceof Promise) await result;
        } catch (error) {
          this.onHandlerError(error, push);
        }
      }
    }
    this.isPumping = false;
  }
}
