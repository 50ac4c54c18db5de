import { inspect } from 'node:util';
import { UnixSocketError } from './unix-socket.error.js';

/** An option has a value that cannot be used. Thrown by constructors, before anything is opened. */
export class InvalidOptionError extends UnixSocketError {
  override readonly name = 'InvalidOptionError';
  readonly code = 'INVALID_OPTION';

  constructor(
    readonly option: string,
    readonly value: unknown,
    readonly expectation: string,
  ) {
    super(
      `Option "${option}" is ${inspect(value, { depth: 1, breakLength: Infinity })}; expected ${expectation}.`,
    );
  }
}

/** A socket path has more bytes than the platform's `sun_path` holds; the kernel would cut or refuse it. */
export class PathTooLongError extends UnixSocketError {
  override readonly name = 'PathTooLongError';
  readonly code = 'PATH_TOO_LONG';

  constructor(
    readonly path: string,
    readonly bytes: number,
    readonly limitBytes: number,
    /** The hidden name beside the path that a server is bound to at first, if it is this that is too long. */
    hiddenName?: string,
  ) {
    super(
      (hiddenName === undefined
        ? `The socket path "${path}" has ${bytes} bytes and this platform takes ${limitBytes}. `
        : `The socket path "${path}" leaves no room for the hidden name "${hiddenName}" that is bound first: ` +
          `it has ${bytes} bytes and this platform takes ${limitBytes}. `) +
        'Use a shorter directory, for example one below $XDG_RUNTIME_DIR.',
    );
  }
}
