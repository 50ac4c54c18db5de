import { randomBytes } from 'node:crypto';
import { MalformedFrameError } from '../errors/protocol.errors.js';
import { replaceOutsideStrings } from './json-text.js';

/**
 * Integers beyond 2^53 in JSON. `JSON` itself rounds them when reading and refuses BigInts when writing, so on their
 * way through it they stand as strings behind a mark. The mark is random and never leaves this process: no string of
 * a peer or of the application can be taken for one.
 */
const MARK = `bigint-${randomBytes(16).toString('hex')}:`;
const MARKED = new RegExp(`"${MARK}(-?\\d+)"`, 'g');

/** The smallest integer that a double may not hold has 16 digits. */
const SUSPICIOUS = /\d{16}/;
/** An integer of that many digits where JSON allows one as a value, and not a part of another number. */
const LARGE_INTEGER = /(?<![\w.+-])-?[1-9]\d{15,}(?=\s*(?:[,\]}]|$))/g;

/** Python reads no longer ones either, and turning digits into a number takes more than linear time. */
const MOST_DIGITS = 4_300;

export function mayHoldLargeIntegers(text: string): boolean {
  return SUSPICIOUS.test(text);
}

/** @throws MalformedFrameError for an integer of more than {@link MOST_DIGITS} digits */
export function markIntegers(text: string): string {
  return replaceOutsideStrings(text, (part) =>
    part.replace(LARGE_INTEGER, (digits) => {
      if (digits.length > MOST_DIGITS)
        throw new MalformedFrameError(`an integer of more than ${MOST_DIGITS} digits`);
      return Number.isSafeInteger(Number(digits)) ? digits : `"${MARK}${digits}"`;
    }),
  );
}

export function markInteger(value: bigint): string {
  return `${MARK}${value}`;
}

/** The BigInt that a marked string stands for; any other string as it is. */
export function unmarkInteger(text: string): string | bigint {
  return text.startsWith(MARK) ? BigInt(text.slice(MARK.length)) : text;
}

/** JSON text with its marked strings as the integers they stand for. */
export function unmarkIntegers(text: string): string {
  return text.replace(MARKED, '$1');
}

/** Whether the application has given BigInts a JSON form of its own. */
export function hasBigIntJson(): boolean {
  return 'toJSON' in BigInt.prototype;
}
