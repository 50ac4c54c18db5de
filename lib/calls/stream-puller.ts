import { Readable } from 'node:stream';
import type { IncomingCall } from './incoming-call.js';
import type { PausedStream } from './stream-flow.js';

/** What becomes of the values of a stream. After `complete`, `error` or `onStopped` nothing more comes. */
export interface StreamSink {
  next(value: unknown): void;
  complete(): void;
  /** @param error what the source threw */
  error(error: unknown): void;
  /** Nobody waits for the rest any more. */
  onStopped(): void;
}

/** A source that always has a value at once would otherwise keep this process from everything else. */
const VALUES_PER_TURN = 64;

/** Whether a handler's result is a stream of values: an async generator, a `Readable`, and the like. */
export function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as Partial<AsyncIterable<unknown>>)[Symbol.asyncIterator] === 'function'
  );
}

/**
 * Takes the values of a source for one call, each when the caller has read enough of those before: while it does not
 * read, the source is not asked, and one value at most is at hand.
 */
export class StreamPuller implements PausedStream {
  private iterator: AsyncIterator<unknown> | undefined;
  private isEnded = false;
  private breath: NodeJS.Immediate | undefined;
  /** Lets the loop go on that waits for room. */
  private wake: (() => void) | undefined;

  constructor(
    private readonly call: IncomingCall,
    private readonly source: AsyncIterable<unknown>,
    private readonly sink: StreamSink,
  ) {}

  start(): void {
    this.call.onTeardown(() => this.stop());
    void this.run();
  }

  resume(): void {
    this.wake?.();
  }

  /** Never rejects. */
  private async run(): Promise<void> {
    let isAsking = true;
    try {
      if (this.isEnded) return;
      this.iterator = this.source[Symbol.asyncIterator]();
      for (let count = 1; ; count++) {
        while (this.isHeldBack) await this.room();
        if (this.isEnded) return;
        isAsking = true;
        const result = await this.iterator.next();
        isAsking = false;
        // Others may have filled the room meanwhile.
        while (result.done !== true && this.isHeldBack) await this.room();
        if (this.isEnded) return;
        if (result.done === true) break;
        this.sink.next(result.value);
        if (count % VALUES_PER_TURN === 0) await this.breathe();
      }
      this.isEnded = true;
      this.sink.complete();
    } catch (error) {
      if (this.isEnded) return;
      this.isEnded = true;
      // One that has thrown is over.
      if (!isAsking) this.closeSource();
      this.sink.error(error);
    }
  }

  private get isHeldBack(): boolean {
    return !this.isEnded && this.call.isStreamHeldBack;
  }

  /** There may be room, unless another stream that has waited for it too is first. */
  private room(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve;
      this.call.pauseStream(this);
    });
  }

  private breathe(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve;
      this.breath = setImmediate(resolve);
    });
  }

  /** The call has ended first. */
  private stop(): void {
    if (this.isEnded) return;
    this.isEnded = true;
    this.call.forgetStream(this);
    clearImmediate(this.breath);
    this.wake?.();
    this.closeSource();
    this.sink.onStopped();
  }

  /** Nobody is left to hear of what goes wrong here. */
  private closeSource(): void {
    // Its iterator would first wait for the next chunk, and one that was never asked would not close it at all.
    if (this.source instanceof Readable) this.source.destroy();
    try {
      this.iterator?.return?.().then(undefined, () => undefined);
    } catch {
      // Not every iterator rejects.
    }
  }
}
