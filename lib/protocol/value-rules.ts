import { EncodeError } from '../errors/protocol.errors.js';

/** The key that marks binary in JSON: `{"__bytes__": "<hex>"}`. Peers replace such an object by its bytes. */
export const BYTES_KEY = '__bytes__';

/** A deeper message is refused: the original gives up at about this depth and closes the connection. */
export const MAX_DEPTH = 1_000;

/** A deeper value is not sent: inside its message, which adds some levels, it would be refused. */
export const MAX_VALUE_DEPTH = MAX_DEPTH - 10;

export function tooDeep(): EncodeError {
  return new EncodeError(`it is circular or nested deeper than ${MAX_VALUE_DEPTH} levels`);
}

export function reservedKey(): EncodeError {
  return new EncodeError(`the key "${BYTES_KEY}" is reserved for binary; send a Buffer or rename it`);
}

export function isBinary(value: object): value is ArrayBufferView | ArrayBufferLike {
  return ArrayBuffer.isView(value) || value instanceof ArrayBuffer || value instanceof SharedArrayBuffer;
}

export function toBuffer(value: ArrayBufferView | ArrayBufferLike): Buffer {
  return ArrayBuffer.isView(value)
    ? Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    : Buffer.from(value as ArrayBuffer);
}

export function isBoxed(value: object): boolean {
  return (
    value instanceof Number || value instanceof String || value instanceof Boolean || value instanceof BigInt
  );
}
