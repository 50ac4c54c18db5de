import type { CallOptions } from '../client/pending-call.js';

/** A payload with settings for its one call. Made by {@link UnixSocketRecordBuilder}. */
export class UnixSocketRecord<T = unknown> {
  constructor(
    readonly data: T,
    readonly options: Pick<CallOptions, 'timeoutMs' | 'meta'>,
  ) {}
}

/**
 * Settings for one call of `send` or `emit`.
 * @example client.send('report', new UnixSocketRecordBuilder(query).setTimeout(60_000).build())
 */
export class UnixSocketRecordBuilder<T> {
  private options: Pick<CallOptions, 'timeoutMs' | 'meta'> = {};

  constructor(private readonly data: T) {}

  /** Metadata beside the payload; handlers read it from the context. */
  setMetadata(meta: Readonly<Record<string, string>>): this {
    this.options = { ...this.options, meta };
    return this;
  }

  /** Bound on the wait for the answer of this call. Milliseconds, 0 for never. */
  setTimeout(timeoutMs: number): this {
    this.options = { ...this.options, timeoutMs };
    return this;
  }

  build(): UnixSocketRecord<T> {
    return new UnixSocketRecord(this.data, this.options);
  }
}
