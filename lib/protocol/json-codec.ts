import { EncodeError, MalformedFrameError } from '../errors/protocol.errors.js';

/** The key that marks binary in JSON: `{"__bytes__": "<hex>"}`. Peers replace such an object by its bytes. */
export const BYTES_KEY = '__bytes__';

/** A deeper message is refused: the original gives up at about this depth and closes the connection. */
export const MAX_DEPTH = 1_000;

/** A deeper value is not sent: inside its message, which adds some levels, it would be refused. */
export const MAX_VALUE_DEPTH = MAX_DEPTH - 10;

/** A text this short cannot hold more than {@link MAX_DEPTH} levels: each costs two brackets. */
const TOO_SHORT_TO_BE_DEEP = 2 * MAX_DEPTH;

/**
 * `value` as JSON text. Buffers, typed arrays and ArrayBuffers become `{"__bytes__": hex}` at any depth;
 * NaN, infinities and undefined become null.
 * @throws EncodeError for what JSON cannot carry: circular or too deep, BigInt, an own key `__bytes__`.
 */
export function encodeJson(value: unknown, maxDepth = MAX_VALUE_DEPTH): string {
  try {
    const plain = holdsBinary(value, maxDepth) ? tagBinary(value, '', maxDepth) : value;
    // Undefined for what has no JSON form at all: undefined itself, a function, a symbol.
    return (JSON.stringify(plain) as string | undefined) ?? 'null';
  } catch (error) {
    if (error instanceof EncodeError) throw error;
    throw new EncodeError((error as Error).message.split('\n', 1)[0] ?? 'it has no JSON form', {
      cause: error,
    });
  }
}

/**
 * The value of a JSON text, with tagged binary as Buffers.
 * @throws MalformedFrameError for no JSON, bad binary or more than {@link MAX_DEPTH} levels.
 */
export function decodeJson(text: string): unknown {
  const value = parse(text);
  // The tag's key may be written with escapes, of which every one of its characters begins so.
  const mayHoldTags = text.includes(BYTES_KEY) || text.includes('\\u00');
  return mayHoldTags || text.length > TOO_SHORT_TO_BE_DEEP ? reviveBinary(value, MAX_DEPTH) : value;
}

/**
 * `JSON.stringify` would write a Buffer as `{"type":"Buffer",…}` and a typed array as an object of numbers,
 * and offers no cheap way to step in; so values are looked through first. Also finds what must not be sent.
 * @param levels how many the value may have
 */
function holdsBinary(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (levels === 0) throw tooDeep();
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const item: unknown = value[i];
      if (typeof item === 'object' && item !== null && holdsBinary(item, levels - 1)) return true;
    }
    return false;
  }
  if (isBinary(value)) return true;
  // What toJSON() gives is only known by calling it, which the careful path does.
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return !(value instanceof Date);
  for (const key in value) {
    if (key === BYTES_KEY && Object.hasOwn(value, key)) throw reservedKey();
    const item = (value as Record<string, unknown>)[key];
    if (typeof item === 'object' && item !== null && holdsBinary(item, levels - 1)) return true;
  }
  return false;
}

/** A copy of `value` in which all binary is tagged; everything else as `JSON.stringify` would see it. */
function tagBinary(value: unknown, key: string, levels: number): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (levels === 0) throw tooDeep();
  if (isBinary(value)) return { [BYTES_KEY]: toBuffer(value).toString('hex') };
  const { toJSON } = value as { toJSON?: unknown };
  return typeof toJSON === 'function'
    ? tagReplaced(toJSON.call(value, key), levels)
    : tagItems(value, levels);
}

/** What a `toJSON()` gave. As with `JSON.stringify`, a `toJSON()` that this one has in its turn is not called. */
function tagReplaced(value: unknown, levels: number): unknown {
  if (typeof value !== 'object' || value === null) return value;
  return isBinary(value) ? { [BYTES_KEY]: toBuffer(value).toString('hex') } : tagItems(value, levels);
}

function tagItems(value: object, levels: number): unknown {
  if (Array.isArray(value)) return value.map((item, index) => tagBinary(item, String(index), levels - 1));
  if (isBoxed(value)) return value;
  // fromEntries defines an own `__proto__` where an assignment would change the prototype.
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => {
      if (name === BYTES_KEY) throw reservedKey();
      // Functions are left out anyway, and a copied `toJSON` would be called on the copy.
      return [name, typeof item === 'function' ? undefined : tagBinary(item, name, levels - 1)];
    }),
  );
}

function tooDeep(): EncodeError {
  return new EncodeError(`it is circular or nested deeper than ${MAX_VALUE_DEPTH} levels`);
}

function reservedKey(): EncodeError {
  return new EncodeError(`the key "${BYTES_KEY}" is reserved for binary; send a Buffer or rename it`);
}

function isBoxed(value: object): boolean {
  return (
    value instanceof Number || value instanceof String || value instanceof Boolean || value instanceof BigInt
  );
}

function isBinary(value: object): value is ArrayBufferView | ArrayBufferLike {
  return ArrayBuffer.isView(value) || value instanceof ArrayBuffer || value instanceof SharedArrayBuffer;
}

function toBuffer(value: ArrayBufferView | ArrayBufferLike): Buffer {
  return ArrayBuffer.isView(value)
    ? Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    : Buffer.from(value as ArrayBuffer);
}

function parse(text: string): unknown {
  try {
    // Python readers skip a byte-order mark; JSON.parse does not.
    return JSON.parse(text.charCodeAt(0) === 0xfeff ? text.slice(1) : text);
  } catch (error) {
    const repaired = withoutBareNonNumbers(text);
    if (repaired !== undefined) return parse(repaired);
    throw new MalformedFrameError('not JSON', { cause: error });
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const BARE_NON_NUMBER = /-?\bInfinity\b|\bNaN\b/g;

/**
 * Some Python writers emit bare `NaN` and `Infinity`, which is not JSON. They read as null here. Strings are
 * stepped over by hand: one pattern for both would take quadratic time over a string that does not end.
 */
function withoutBareNonNumbers(text: string): string | undefined {
  if (!text.includes('NaN') && !text.includes('Infinity')) return undefined;
  let repaired = '';
  let position = 0;
  while (position < text.length) {
    const quote = text.indexOf('"', position);
    const outsideEnd = quote < 0 ? text.length : quote;
    repaired += text.slice(position, outsideEnd).replace(BARE_NON_NUMBER, 'null');
    position = quote < 0 ? outsideEnd : endOfString(text, quote);
    repaired += text.slice(outsideEnd, position);
  }
  return repaired === text ? undefined : repaired;
}

/** The position behind the string that begins at `quote`. */
function endOfString(text: string, quote: number): number {
  for (let i = quote + 1; i < text.length; i++) {
    const character = text.charCodeAt(i);
    if (character === BACKSLASH) i++;
    else if (character === QUOTE) return i + 1;
  }
  return text.length;
}

function reviveBinary(value: unknown, levels: number): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (levels === 0) throw new MalformedFrameError(`nested deeper than ${MAX_DEPTH} levels`);
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const item: unknown = value[i];
      if (typeof item === 'object' && item !== null) value[i] = reviveBinary(item, levels - 1);
    }
    return value;
  }
  const record = value as Record<string, unknown>;
  if (Object.hasOwn(record, BYTES_KEY)) return bytesFromHex(record[BYTES_KEY]);
  for (const key of Object.keys(record)) {
    const item = record[key];
    if (typeof item !== 'object' || item === null) continue;
    const revived = reviveBinary(item, levels - 1);
    if (revived === item) continue;
    // Not an assignment: the key may be `__proto__`.
    Object.defineProperty(record, key, {
      value: revived,
      writable: true,
      enumerable: true,
      configurable: true,
    });
  }
  return record;
}

/** Hex digits in pairs, capitals and blanks between pairs allowed, as Python's `bytes.fromhex` reads them. */
function bytesFromHex(hex: unknown): Buffer {
  if (typeof hex !== 'string') throw new MalformedFrameError(`"${BYTES_KEY}" is not a string`);
  const bytes = Buffer.from(hex, 'hex');
  // Node reads a wide character by its low byte alone, so that some of them pass for digits.
  if (bytes.length * 2 === hex.length && Buffer.byteLength(hex) === hex.length) return bytes;
  const pairs = hex.split(/[ \t\n\r\f\v]+/);
  if (pairs.some((digits) => digits.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(digits))) {
    throw new MalformedFrameError(`"${BYTES_KEY}" is not hexadecimal`);
  }
  return Buffer.from(pairs.join(''), 'hex');
}
