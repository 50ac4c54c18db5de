import { UnixSocketError } from './unix-socket.error.js';

/** A subscription with `overflow: 'error'` was too slow; it has ended, and no other one noticed. */
export class PushOverflowError extends UnixSocketError {
  override readonly name = 'PushOverflowError';
  readonly code = 'PUSH_OVERFLOW';

  constructor(
    /** Of the push for which there was no room. */
    readonly type: string,
    readonly bufferSize: number,
  ) {
    super(
      `The subscription to the push "${type}" was ended: ${bufferSize} pushes waited for it already. ` +
        'Subscribe again, or choose a policy that drops.',
    );
  }
}
