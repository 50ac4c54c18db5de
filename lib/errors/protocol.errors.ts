import { UnixSocketError, type UnixSocketErrorOptions } from './unix-socket.error.js';

/** The peer sent bytes that are no valid frame. Its connection is ended; no other is touched. */
export class MalformedFrameError extends UnixSocketError {
  override readonly name = 'MalformedFrameError';
  readonly code = 'MALFORMED_FRAME';

  constructor(
    readonly reason: string,
    options?: UnixSocketErrorOptions,
  ) {
    super(
      `Malformed frame: ${reason}. The connection is closed; check that the peer speaks this protocol.`,
      options,
    );
  }
}

/** A frame is larger than one of the two ends takes: the peer's declared length, or a value of ours. */
export class FrameTooLargeError extends UnixSocketError {
  override readonly name = 'FrameTooLargeError';
  readonly code = 'FRAME_TOO_LARGE';

  constructor(
    readonly bytes: number,
    readonly limitBytes: number,
    options?: UnixSocketErrorOptions,
  ) {
    super(
      `A frame of ${bytes} bytes exceeds the limit of ${limitBytes}. Raise "maxFrameBytes" on both ends or send less.`,
      options,
    );
  }
}

/** The peer began a frame and stopped sending. Its connection is ended. */
export class FrameTimeoutError extends UnixSocketError {
  override readonly name = 'FrameTimeoutError';
  readonly code = 'FRAME_TIMEOUT';

  constructor(readonly timeoutMs: number) {
    super(`The peer sent part of a frame and then nothing for ${timeoutMs} ms. The connection is closed.`);
  }
}

/** A value cannot be written as JSON: circular, too deep, a BigInt without `bigint: true`, or an object using the reserved key `__bytes__`. */
export class EncodeError extends UnixSocketError {
  override readonly name = 'EncodeError';
  readonly code = 'UNENCODABLE_VALUE';

  constructor(
    readonly reason: string,
    options?: UnixSocketErrorOptions,
  ) {
    super(`The value cannot be sent: ${reason}.`, { delivery: 'notSent', ...options });
  }
}
