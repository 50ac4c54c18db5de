import { UnixSocketError, type UnixSocketErrorOptions } from './unix-socket.error.js';

/** A live server holds the address, or something that is no socket stands at the path. Nothing was touched. */
export class AddressInUseError extends UnixSocketError {
  override readonly name = 'AddressInUseError';
  readonly code = 'ADDRESS_IN_USE';

  constructor(
    readonly endpoint: string,
    /** Who or what holds it, as far as it could be found out; for example `account "acc1"`. */
    readonly holder: string,
    options?: UnixSocketErrorOptions,
  ) {
    super(`${endpoint} is in use by ${holder}. Stop it, or choose another address.`, options);
  }
}

/** The server could not listen for another reason than the address being in use. */
export class ListenError extends UnixSocketError {
  override readonly name = 'ListenError';
  readonly code = 'LISTEN_FAILED';

  constructor(
    readonly endpoint: string,
    readonly reason: string,
    options?: UnixSocketErrorOptions,
  ) {
    super(`Cannot listen on ${endpoint}: ${reason}.`, options);
  }
}
