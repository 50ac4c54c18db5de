import { UnixSocketError } from '../errors/unix-socket.error.js';
import type { Dialect } from './dialect.js';
import type { Frame } from './frame-writer.js';
import type { Payload } from './payload.js';

/** One push, encoded once for each dialect among those who get it, when the first of them does. */
export class PushFrames {
  /** Size of the first one. */
  readonly bytes: number;
  private lastDialect: Dialect;
  private lastFrame: Frame | undefined;
  /** Only there once it is needed in more than one. */
  private others: Map<Dialect, Frame | undefined> | undefined;

  constructor(
    private readonly id: string,
    private readonly type: string,
    private readonly payload: Payload,
    private readonly extras: string,
    private readonly maxFrameBytes: number,
    /** Its first dialect: what cannot be sent in this one is not pushed at all. @throws EncodeError, FrameTooLargeError */
    main: Dialect,
  ) {
    this.lastDialect = main;
    this.lastFrame = this.encode(main);
    this.bytes = this.lastFrame?.length ?? 0;
  }

  /** Undefined if the push cannot be sent in this dialect. */
  for(dialect: Dialect): Frame | undefined {
    if (dialect === this.lastDialect) return this.lastFrame;
    this.others ??= new Map([[this.lastDialect, this.lastFrame]]);
    if (!this.others.has(dialect)) this.others.set(dialect, this.tryEncode(dialect));
    this.lastDialect = dialect;
    this.lastFrame = this.others.get(dialect);
    return this.lastFrame;
  }

  /** What fits as bytes may be too large as text. */
  private tryEncode(dialect: Dialect): Frame | undefined {
    try {
      return this.encode(dialect);
    } catch (error) {
      if (error instanceof UnixSocketError) return undefined;
      throw error;
    }
  }

  private encode(dialect: Dialect): Frame | undefined {
    return dialect.push(this.id, this.type, this.payload, this.extras, this.maxFrameBytes);
  }
}
