import type { CallOptions } from '../calls/pending-call.js';

export interface RecordOptions extends Pick<CallOptions, 'timeoutMs' | 'meta' | 'idempotent'> {
  /** For `emit`: see {@link UnixSocketRecordBuilder.setAck}. */
  readonly ack?: boolean | undefined;
}

/** A payload with settings for its one call. Made by {@link UnixSocketRecordBuilder}. */
export class UnixSocketRecord<T = unknown> {
  constructor(
    readonly data: T,
    readonly options: RecordOptions,
  ) {}
}

/**
 * Settings for one call of `send` or `emit`.
 * @example client.send('report', new UnixSocketRecordBuilder(query).setTimeout(60_000).build())
 */
export class UnixSocketRecordBuilder<T> {
  private options: RecordOptions = {};

  constructor(private readonly data: T) {}

  /** Metadata beside the payload; handlers read it from the context. */
  setMetadata(meta: Readonly<Record<string, string>>): this {
    this.options = { ...this.options, meta };
    return this;
  }

  /** Running it twice does no harm: it is repeated when the connection is lost before an answer. */
  setIdempotent(idempotent = true): this {
    this.options = { ...this.options, idempotent };
    return this;
  }

  /** Bound on this whole call, told to an upgraded server as its deadline. Milliseconds, 0 for never. */
  setTimeout(timeoutMs: number): this {
    this.options = { ...this.options, timeoutMs };
    return this;
  }

  /** For `emit`: completes when the event's handlers have finished, and errors with their error. */
  setAck(ack = true): this {
    this.options = { ...this.options, ack };
    return this;
  }

  build(): UnixSocketRecord<T> {
    return new UnixSocketRecord(this.data, this.options);
  }
}
