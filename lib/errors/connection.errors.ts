import { UnixSocketError, type UnixSocketErrorOptions } from './unix-socket.error.js';

/** Why a connection could not be opened; also the `code` of {@link ConnectError}. */
export type ConnectErrorCode =
  | 'SOCKET_NOT_FOUND'
  | 'CONNECTION_REFUSED'
  | 'PERMISSION_DENIED'
  | 'SERVER_BUSY'
  | 'NOT_A_SOCKET'
  | 'CONNECT_FAILED';

/** What each errno of `connect(2)` means for a local transport, and what to do about it. */
const CONNECT_FAILURES: Readonly<Record<string, readonly [ConnectErrorCode, string]>> = {
  ENOENT: ['SOCKET_NOT_FOUND', 'nothing is there yet: start the server, or check the path'],
  ECONNREFUSED: ['CONNECTION_REFUSED', 'nobody listens there: the server has ended, start it again'],
  EACCES: [
    'PERMISSION_DENIED',
    'this user may not connect: check the mode and owner of the socket and its directory',
  ],
  EPERM: [
    'PERMISSION_DENIED',
    'this user may not connect: check the mode and owner of the socket and its directory',
  ],
  EAGAIN: ['SERVER_BUSY', 'its backlog is full: it is retried; raise "backlog" if this goes on'],
  ENOTSOCK: ['NOT_A_SOCKET', 'there is a file that is no socket: check the path'],
};

/** One attempt to open a connection failed. Nothing was sent. */
export class ConnectError extends UnixSocketError {
  override readonly name = 'ConnectError';
  readonly code: ConnectErrorCode;

  constructor(
    readonly endpoint: string,
    cause: NodeJS.ErrnoException,
    options: UnixSocketErrorOptions = {},
  ) {
    const [code, advice] = CONNECT_FAILURES[cause.code ?? ''] ?? ['CONNECT_FAILED', cause.message];
    super(`Cannot connect to ${endpoint}: ${advice}.`, { delivery: 'notSent', ...options, cause });
    this.code = code;
  }
}

/** The server did not accept, or accepted and did not greet, within the time given. Nothing was sent. */
export class ConnectTimeoutError extends UnixSocketError {
  override readonly name = 'ConnectTimeoutError';
  readonly code = 'CONNECT_TIMEOUT';

  constructor(
    readonly endpoint: string,
    readonly timeoutMs: number,
    options: UnixSocketErrorOptions = {},
  ) {
    super(
      `No greeting from ${endpoint} within ${timeoutMs} ms: the server is stuck or speaks another protocol.`,
      {
        delivery: 'notSent',
        ...options,
      },
    );
  }
}

/** A version 1 server greeted with another account than this client's. Nothing was sent. */
export class AccountMismatchError extends UnixSocketError {
  override readonly name = 'AccountMismatchError';
  readonly code = 'ACCOUNT_MISMATCH';

  constructor(
    readonly endpoint: string,
    readonly expected: string,
    readonly actual: string,
  ) {
    super(
      `The server at ${endpoint} is of the account "${actual}", not "${expected}". Check "accountId" and the address.`,
      { delivery: 'notSent' },
    );
  }
}

/** The connection ended while a call was waiting for its answer. */
export class ConnectionLostError extends UnixSocketError {
  override readonly name = 'ConnectionLostError';
  readonly code = 'CONNECTION_LOST';

  constructor(
    readonly endpoint: string,
    options: UnixSocketErrorOptions = {},
  ) {
    super(
      `The connection to ${endpoint} was lost` +
        (options.delivery === 'sentNoReply'
          ? ' before the answer came: the other side may or may not have done the work.'
          : '.'),
      options,
    );
  }
}

/** Nothing at all was received from the peer for longer than the heartbeat timeout. The connection is ended. */
export class PeerSilentError extends UnixSocketError {
  override readonly name = 'PeerSilentError';
  readonly code = 'PEER_SILENT';

  constructor(
    readonly peer: string,
    readonly timeoutMs: number,
  ) {
    super(
      `Nothing was received from ${peer} for ${timeoutMs} ms: it is stopped, stuck or gone. The connection is closed.`,
    );
  }
}

/** The peer does not read, and what is queued for it passed the cap. A server ends such a connection; a client's call fails. */
export class SendQueueFullError extends UnixSocketError {
  override readonly name = 'SendQueueFullError';
  readonly code = 'SEND_QUEUE_FULL';

  constructor(
    readonly queuedBytes: number,
    readonly limitBytes: number,
  ) {
    super(`${queuedBytes} bytes wait for a peer that does not read; the limit is ${limitBytes}.`, {
      delivery: 'notSent',
    });
  }
}

/** The server at the other end refused the connection, for example because it has enough of them. */
export class ConnectionRefusedByServerError extends UnixSocketError {
  override readonly name = 'ConnectionRefusedByServerError';
  readonly code = 'REFUSED_BY_SERVER';

  constructor(
    readonly endpoint: string,
    readonly reason: string,
    options: UnixSocketErrorOptions = {},
  ) {
    super(`${endpoint} refused the connection: ${reason}. It is tried again later.`, {
      delivery: 'notSent',
      ...options,
    });
  }
}

/** The connection has ended, so it can enter no room and be asked nothing. */
export class ConnectionClosedError extends UnixSocketError {
  override readonly name = 'ConnectionClosedError';
  readonly code = 'CONNECTION_CLOSED';

  constructor(readonly connectionId: string) {
    super(`The connection ${connectionId} has ended.`, { delivery: 'notSent' });
  }
}

/** The server announced that it is going away. What is in flight is still answered; new calls go to its successor. */
export class ServerGoingAwayError extends UnixSocketError {
  override readonly name = 'ServerGoingAwayError';
  readonly code = 'GOING_AWAY';

  constructor(readonly endpoint: string) {
    super(`The server at ${endpoint} is going away; the link moves to its successor.`);
  }
}

/** The server was closed while a handler ran. Reason of the handler's `AbortSignal`; never reaches a caller. */
export class ServerClosedError extends UnixSocketError {
  override readonly name = 'ServerClosedError';
  readonly code = 'SERVER_CLOSED';

  constructor() {
    super('The server was closed before the handler finished.');
  }
}
