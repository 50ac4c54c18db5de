import { UnixSocketError, type Delivery } from './unix-socket.error.js';

/** No answer, or no next item of a stream, within the time given. The server has been told to stop. */
export class RequestTimeoutError extends UnixSocketError {
  override readonly name = 'RequestTimeoutError';
  readonly code = 'REQUEST_TIMEOUT';

  constructor(
    readonly pattern: string,
    readonly timeoutMs: number,
    delivery: Delivery,
    cause?: unknown,
  ) {
    super(
      delivery === 'notSent'
        ? `"${pattern}" was not sent: no connection within ${timeoutMs} ms.${cause instanceof Error ? ` ${cause.message}` : ''}`
        : `No answer to "${pattern}" within ${timeoutMs} ms. It was sent and may have run.`,
      { delivery, cause },
    );
  }
}

/** The caller's `AbortSignal` fired. The server has been told to stop. `cause` is the signal's reason. */
export class RequestAbortedError extends UnixSocketError {
  override readonly name = 'RequestAbortedError';
  readonly code = 'REQUEST_ABORTED';

  constructor(
    readonly pattern: string,
    delivery: Delivery,
    cause?: unknown,
  ) {
    super(`"${pattern}" was aborted by its caller.`, { delivery, cause });
  }
}

/** Facts of a {@link RemoteError}. */
export interface RemoteErrorFacts {
  readonly message: string;
  readonly code?: string | undefined;
  readonly details?: unknown;
  readonly payload?: unknown;
}

/** The handler at the other end answered with an error. */
export class RemoteError extends UnixSocketError {
  override readonly name = 'RemoteError';
  /** The code the handler's error carried; `REMOTE_ERROR` if it had none; `UNKNOWN_PATTERN` if nothing handles the pattern. */
  readonly code: string;
  /** Whatever the handler's error carried as `details`. */
  readonly details: unknown;
  /** The handler's error as it left Nest, deep-equal to what Nest's TCP transport would have emitted. */
  readonly payload: unknown;

  constructor(facts: RemoteErrorFacts) {
    super(facts.message, { delivery: 'replied' });
    this.code = facts.code ?? 'REMOTE_ERROR';
    this.details = facts.details;
    this.payload = facts.payload === undefined ? { status: 'error', message: facts.message } : facts.payload;
  }
}

/** Why the other end did not start a call; also the `code` of {@link RefusedError}. */
export type RefusalCode = 'OVERLOADED' | 'DRAINING' | 'DEADLINE_EXCEEDED';

/** The other end refused the call before starting it. Repeating is safe. */
export class RefusedError extends UnixSocketError {
  override readonly name = 'RefusedError';

  constructor(
    readonly code: RefusalCode,
    message: string,
  ) {
    super(message, { delivery: 'notSent' });
  }
}

/** There is no connection, and `offline` says not to wait for one. */
export class NotConnectedError extends UnixSocketError {
  override readonly name = 'NotConnectedError';
  readonly code = 'NOT_CONNECTED';

  constructor(
    readonly endpoint: string,
    cause?: unknown,
  ) {
    super(`There is no connection to ${endpoint}; the call was not sent.`, { delivery: 'notSent', cause });
  }
}

/** The client at the other end of a connection takes no calls, or acknowledges no pushes. */
export class NotCallableError extends UnixSocketError {
  override readonly name = 'NotCallableError';
  readonly code = 'NOT_CALLABLE';

  constructor(
    readonly connectionId: string,
    kind: 'request' | 'event',
  ) {
    super(
      kind === 'request'
        ? `The client ${connectionId} takes no calls: it is none of this package's, has no handlers, or has not said hello yet.`
        : `The client ${connectionId} acknowledges no pushes: it is none of this package's, or has not said hello yet.`,
      { delivery: 'notSent' },
    );
  }
}

/** So many calls to one client have no answer yet that no more may be made. */
export class PendingCallsFullError extends UnixSocketError {
  override readonly name = 'PendingCallsFullError';
  readonly code = 'PENDING_CALLS_FULL';

  constructor(
    readonly connectionId: string,
    readonly limit: number,
  ) {
    super(
      `${limit} calls to the client ${connectionId} wait for their answers already; this one was not sent.`,
      {
        delivery: 'notSent',
      },
    );
  }
}

/** Too many calls wait for a connection already; the newest one is turned away. */
export class OfflineQueueFullError extends UnixSocketError {
  override readonly name = 'OfflineQueueFullError';
  readonly code = 'OFFLINE_QUEUE_FULL';

  constructor(
    readonly endpoint: string,
    /** What is full. */
    readonly limit: string,
  ) {
    super(`${limit} wait for a connection to ${endpoint} already; this one was not sent.`, {
      delivery: 'notSent',
    });
  }
}

/** The client was closed, so the call cannot be made or its answer cannot come any more. */
export class ClientClosedError extends UnixSocketError {
  override readonly name = 'ClientClosedError';
  readonly code = 'CLIENT_CLOSED';

  constructor(delivery: Delivery) {
    super(
      delivery === 'notSent'
        ? 'The client is closed; make a new one.'
        : 'The client was closed before the answer came.',
      {
        delivery,
      },
    );
  }
}

/** The deadline that the caller had given passed. Reason of the handler's `AbortSignal`. */
export class DeadlineExceededError extends UnixSocketError {
  override readonly name = 'DeadlineExceededError';
  readonly code = 'DEADLINE_EXCEEDED';

  constructor(readonly pattern: string) {
    super(`The caller's deadline for "${pattern}" has passed; nobody waits for the answer.`);
  }
}

/** Values of a stream came faster than its caller took them, and there was no room for one more. The call has ended. */
export class StreamOverflowError extends UnixSocketError {
  override readonly name = 'StreamOverflowError';
  readonly code = 'STREAM_OVERFLOW';

  constructor(
    readonly pattern: string,
    /** What there is room for. */
    readonly limit: string,
  ) {
    super(
      `The stream "${pattern}" was ended: its caller is too slow, and there is room for no more than ${limit}. ` +
        'Return an async generator, which waits for its caller.',
      { delivery: 'replied' },
    );
  }
}

/** The caller cancelled the call. Reason of the handler's `AbortSignal`. */
export class CallCancelledError extends UnixSocketError {
  override readonly name = 'CallCancelledError';
  readonly code = 'CANCELLED';

  constructor() {
    super('The caller cancelled the call; nobody waits for the answer.');
  }
}
