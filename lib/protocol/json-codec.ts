import { EncodeError, MalformedFrameError } from '../errors/protocol.errors.js';
import {
  hasBigIntJson,
  markInteger,
  markIntegers,
  mayHoldLargeIntegers,
  unmarkInteger,
  unmarkIntegers,
} from './exact-integers.js';
import type { Extract } from './large-text.js';
import { setOwn, withoutBareNonNumbers } from './json-text.js';
import { Survey } from './survey.js';
import {
  BYTES_KEY,
  isBinary,
  isBoxed,
  MAX_DEPTH,
  MAX_VALUE_DEPTH,
  reservedKey,
  toBuffer,
  tooDeep,
} from './value-rules.js';

/** A text this short cannot hold more than {@link MAX_DEPTH} levels: each costs two brackets. */
const TOO_SHORT_TO_BE_DEEP = 2 * MAX_DEPTH;

/** What a JSON text means beyond JSON. */
export interface JsonRules {
  /** Whether `{"__bytes__": hex}` is binary when read; if not, it is an object like any other, and may be sent. */
  readonly hasTags: boolean;
  /** Whether integers beyond 2^53 are BigInts, with all their digits. */
  readonly isExact: boolean;
}

export const PLAIN_JSON: JsonRules = { hasTags: true, isExact: false };

/**
 * `value` as JSON text. Buffers, typed arrays and ArrayBuffers become `{"__bytes__": hex}` at any depth;
 * NaN, infinities and undefined become null.
 * @throws EncodeError for what JSON cannot carry: circular or too deep, an own key `__bytes__`, and a BigInt unless
 * the rules allow it.
 */
export function encodeJson(value: unknown, maxDepth = MAX_VALUE_DEPTH, rules = PLAIN_JSON): string {
  try {
    return new Survey(rules.hasTags).holdsBinary(value, maxDepth)
      ? encodeTagged(value, maxDepth, rules)
      : encodePlain(value, maxDepth, rules);
  } catch (error) {
    throw asEncodeError(error);
  }
}

/** @param value known to hold no binary, nor anything that must not be sent */
export function encodePlain(value: unknown, maxDepth: number, rules: JsonRules): string {
  if (!rules.isExact) return stringify(value);
  // An application may have taught JSON to write BigInts as strings.
  if (hasBigIntJson()) return encodeTagged(value, maxDepth, rules);
  try {
    return stringify(value);
  } catch {
    return encodeTagged(value, maxDepth, rules);
  }
}

/** Slower: of a copy in which everything that JSON does not know has been replaced. */
export function encodeTagged(value: unknown, maxDepth: number, rules: JsonRules): string {
  const text = stringify(tagBinary(value, '', maxDepth, rules));
  return rules.isExact ? unmarkIntegers(text) : text;
}

/** Whatever went wrong in writing a value. */
export function asEncodeError(error: unknown): EncodeError {
  if (error instanceof EncodeError) return error;
  const { message } = error as Error;
  return new EncodeError(message.split('\n', 1)[0] ?? 'it has no JSON form', { cause: error });
}

/**
 * The value of a JSON text, with tagged binary as Buffers.
 * @throws MalformedFrameError for no JSON, bad binary or more than {@link MAX_DEPTH} levels.
 */
export function decodeJson(text: string, rules = PLAIN_JSON): unknown {
  if (rules.isExact && mayHoldLargeIntegers(text)) return decodeExact(text, rules);
  return read(text, rules);
}

/** As {@link decodeJson}, of a text whose large strings have been taken out. */
export function decodeExtract({ text, strings }: Extract, rules: JsonRules): unknown {
  return revive(parse(text), MAX_DEPTH, rules, strings);
}

function read(text: string, rules: JsonRules): unknown {
  const value = parse(text);
  // The tag's key may be written with escapes, of which every one of its characters begins so.
  const mayHoldTags = rules.hasTags && (text.includes(BYTES_KEY) || text.includes('\\u00'));
  return mayHoldTags || text.length > TOO_SHORT_TO_BE_DEEP ? revive(value, MAX_DEPTH, rules) : value;
}

function decodeExact(text: string, rules: JsonRules): unknown {
  let value: unknown;
  try {
    value = parse(markIntegers(text));
  } catch {
    // Without its cause, which would quote the marks: nobody may ever see one.
    throw new MalformedFrameError('not JSON');
  }
  return revive(value, MAX_DEPTH, rules);
}

function stringify(value: unknown): string {
  // Undefined for what has no JSON form at all: undefined itself, a function, a symbol.
  return (JSON.stringify(value) as string | undefined) ?? 'null';
}

/** A copy of `value` in which all binary is tagged; everything else as `JSON.stringify` would see it. */
function tagBinary(value: unknown, key: string, levels: number, rules: JsonRules): unknown {
  if (typeof value === 'bigint') return rules.isExact ? markInteger(value) : value;
  if (typeof value !== 'object' || value === null) return value;
  if (levels === 0) throw tooDeep();
  if (isBinary(value)) return { [BYTES_KEY]: toBuffer(value).toString('hex') };
  const { toJSON } = value as { toJSON?: unknown };
  return typeof toJSON === 'function'
    ? tagReplaced(toJSON.call(value, key), levels, rules)
    : tagItems(value, levels, rules);
}

/** What a `toJSON()` gave. As with `JSON.stringify`, a `toJSON()` that this one has in its turn is not called. */
function tagReplaced(value: unknown, levels: number, rules: JsonRules): unknown {
  if (typeof value === 'bigint' && rules.isExact) return markInteger(value);
  if (typeof value !== 'object' || value === null) return value;
  return isBinary(value) ? { [BYTES_KEY]: toBuffer(value).toString('hex') } : tagItems(value, levels, rules);
}

function tagItems(value: object, levels: number, rules: JsonRules): unknown {
  if (Array.isArray(value))
    return value.map((item, index) => tagBinary(item, String(index), levels - 1, rules));
  if (isBoxed(value)) return value;
  // fromEntries defines an own `__proto__` where an assignment would change the prototype.
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => {
      if (name === BYTES_KEY && rules.hasTags) throw reservedKey();
      // Functions are left out anyway, and a copied `toJSON` would be called on the copy.
      return [name, typeof item === 'function' ? undefined : tagBinary(item, name, levels - 1, rules)];
    }),
  );
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

/**
 * Puts in place what the text could only mark: binary, integers beyond 2^53, and large strings. Also finds what is too
 * deep.
 */
function revive(
  value: unknown,
  levels: number,
  rules: JsonRules,
  strings?: ReadonlyMap<string, string>,
): unknown {
  if (typeof value === 'string') return rules.isExact ? unmarkInteger(value) : (strings?.get(value) ?? value);
  if (typeof value !== 'object' || value === null) return value;
  if (levels === 0) throw new MalformedFrameError(`nested deeper than ${MAX_DEPTH} levels`);
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const item: unknown = value[i];
      const revived = revive(item, levels - 1, rules, strings);
      if (revived !== item) value[i] = revived;
    }
    return value;
  }
  const record = value as Record<string, unknown>;
  if (rules.hasTags && Object.hasOwn(record, BYTES_KEY))
    return bytesFromHex(revive(record[BYTES_KEY], levels - 1, rules, strings));
  for (const key of Object.keys(record)) {
    const item = record[key];
    const revived = revive(item, levels - 1, rules, strings);
    if (revived !== item) setOwn(record, key, revived);
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
