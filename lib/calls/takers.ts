import { Fifo } from '../connection/fifo.js';

interface Taker<T> {
  resolve(result: IteratorResult<T, undefined>): void;
  reject(error: unknown): void;
}

export const DONE = { done: true, value: undefined } as const;

/** Those who wait for the next value of a `for await` loop, and what the loop hears at its end. */
export class Takers<T> {
  private readonly waiting = new Fifo<Taker<T>>();
  private ended: { readonly error: unknown } | undefined;

  get length(): number {
    return this.waiting.length;
  }

  get isEnded(): boolean {
    return this.ended !== undefined;
  }

  /** The next value that is given, or the end; its error is told once. */
  wait(): Promise<IteratorResult<T, undefined>> {
    if (this.ended === undefined)
      return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
    const { error } = this.ended;
    this.ended = { error: undefined };
    return error === undefined ? Promise.resolve(DONE) : Promise.reject(error as Error);
  }

  /** False if nobody waits. */
  give(value: T): boolean {
    const taker = this.waiting.shift();
    taker?.resolve({ done: false, value });
    return taker !== undefined;
  }

  /** Ends it, unless it has ended. Whoever waits is told of an error, and otherwise whoever asks next. */
  end(error: unknown): void {
    if (this.ended !== undefined) return;
    const first = this.waiting.shift();
    this.ended = { error: first === undefined ? error : undefined };
    if (error === undefined) first?.resolve(DONE);
    else first?.reject(error);
    for (let taker = this.waiting.shift(); taker !== undefined; taker = this.waiting.shift())
      taker.resolve(DONE);
  }

  /** The loop has been left: nobody hears of an error any more. */
  leave(): void {
    this.end(undefined);
    this.ended = { error: undefined };
  }
}
