import { UnixSocketError } from './unix-socket.error.js';

/** What is wrong with a decorated handler; also the `code` of {@link InvalidHandlerError}. */
export type InvalidHandlerCode =
  | 'UNKNOWN_CLIENT'
  | 'AMBIGUOUS_CLIENT'
  | 'DUPLICATE_HANDLER'
  | 'HANDLER_NOT_SINGLETON'
  | 'ENHANCER_NOT_FOUND';

/** A handler decorated with `@OnPush`, `@OnConnect` or `@OnDisconnect` cannot be bound. The app does not start. */
export class InvalidHandlerError extends UnixSocketError {
  override readonly name = 'InvalidHandlerError';

  constructor(
    readonly code: InvalidHandlerCode,
    /** As `Class.method`. */
    readonly handler: string,
    reason: string,
  ) {
    super(`${handler} cannot be bound: ${reason}`);
  }
}

/** Two clients of one app have the same name, so nobody could say which is meant. The app does not start. */
export class DuplicateClientError extends UnixSocketError {
  override readonly name = 'DuplicateClientError';
  readonly code = 'DUPLICATE_CLIENT';

  constructor(readonly client: string) {
    super(
      `There are two clients named "${client}". Give each its own name, or call forClient() once and import ` +
        'what it returned wherever the client is needed.',
    );
  }
}
