import { randomBytes } from 'node:crypto';

/**
 * Large strings on their way past JSON. `JSON.stringify` builds a large text from pieces, which have to be joined and
 * then copied into bytes; `JSON.parse` copies each string out of its text. For what is large it is memory, touched for
 * the first time, that costs most. So large strings are written into the frame piece by piece, and read out of it at once.
 */

/** Length from which on a string is worth the detour. */
export const LARGE_STRING_LENGTH = 64 * 1024;

/** Escaped at a time: small enough to be garbage that costs nothing. */
const PIECE_LENGTH = 8 * 1024;
/** A character takes at most so many characters where it is escaped, and so many bytes of UTF-8. */
const LONGEST_ESCAPE = 6;
const MOST_UTF8_BYTES = 3;

/** Stands for a large string. Random, and shown to nobody, so that no value can hold it. */
const MARK = randomBytes(12).toString('hex');

/** JSON in bytes. */
export class LargeText {
  constructor(readonly bytes: Buffer) {}

  get length(): number {
    return this.bytes.length;
  }

  toText(): string {
    return this.bytes.toString();
  }
}

/** @param value known to hold large strings, and nothing that JSON does not know */
export function encodeLargeText(value: unknown): LargeText {
  const strings: string[] = [];
  const frame = JSON.stringify(value, (_key, item: unknown) => {
    if (typeof item !== 'string' || item.length < LARGE_STRING_LENGTH) return item;
    strings.push(item);
    return MARK;
  });
  const writer = new TextWriter(strings.reduce((sum, { length }) => sum + length, frame.length));
  frame.split(MARK).forEach((text, index) => {
    if (index > 0) writer.writeEscaped(strings[index - 1] as string);
    writer.writeText(text);
  });
  return new LargeText(writer.finish());
}

class TextWriter {
  private bytes: Buffer;
  private position = 0;

  constructor(expectedLength: number) {
    this.bytes = Buffer.allocUnsafe(expectedLength + PIECE_LENGTH * LONGEST_ESCAPE);
  }

  /** The inside of a JSON string. */
  writeEscaped(text: string): void {
    for (let start = 0; start < text.length;) {
      const end = pieceEnd(text, start);
      this.write(JSON.stringify(text.slice(start, end)).slice(1, -1));
      start = end;
    }
  }

  /** JSON text. */
  writeText(text: string): void {
    for (let start = 0; start < text.length;) {
      const end = pieceEnd(text, start);
      this.write(text.slice(start, end));
      start = end;
    }
  }

  finish(): Buffer {
    return this.bytes.subarray(0, this.position);
  }

  private write(piece: string): void {
    const needed = this.position + piece.length * MOST_UTF8_BYTES;
    if (needed > this.bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, this.bytes.length * 2));
      this.bytes.copy(larger, 0, 0, this.position);
      this.bytes = larger;
    }
    this.position += this.bytes.write(piece, this.position);
  }
}

/** No piece ends between the halves of a character. */
function pieceEnd(text: string, start: number): number {
  const end = start + PIECE_LENGTH;
  if (end >= text.length) return text.length;
  const last = text.charCodeAt(end - 1);
  return last >= 0xd800 && last < 0xdc00 ? end - 1 : end;
}

/** The text of a message without its large strings, and those by what stands in their places. */
export interface Extract {
  readonly text: string;
  readonly strings: ReadonlyMap<string, string>;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const SPACE = 0x20;
const CONTROL_CHARACTER = /[^ -\uffff]/;

/** A text of many strings is not searched to its end: from there on it costs more than it saves. */
const MOST_QUOTES = 128;

/**
 * Takes out the large strings that have no escapes, which are those that need no reading. Undefined if there are none.
 * @param bytes ASCII
 */
export function extractLargeStrings(bytes: Buffer, start: number, end: number): Extract | undefined {
  const strings = new Map<string, string>();
  let text = '';
  let copied = start;
  let open = -1;
  let position = start;
  for (let quotes = 0; quotes < MOST_QUOTES; quotes++) {
    const quote = bytes.indexOf(QUOTE, position);
    if (quote < 0 || quote >= end) break;
    position = quote + 1;
    if (open < 0) {
      open = quote;
      continue;
    }
    if (isEscaped(bytes, open, quote)) continue;
    const inside = open + 1;
    open = -1;
    if (quote - inside < LARGE_STRING_LENGTH || isKey(bytes, position, end)) continue;
    if (bytes.subarray(inside, quote).includes(BACKSLASH)) continue;
    const string = bytes.toString('latin1', inside, quote);
    if (CONTROL_CHARACTER.test(string)) return undefined;
    const mark = `${MARK}${strings.size}`;
    strings.set(mark, string);
    text += bytes.toString('latin1', copied, inside) + mark;
    copied = quote;
  }
  return strings.size === 0 ? undefined : { text: text + bytes.toString('latin1', copied, end), strings };
}

/** Whether the quote at `quote` belongs to the string that begins at `open`. */
function isEscaped(bytes: Buffer, open: number, quote: number): boolean {
  let first = quote;
  while (first - 1 > open && bytes[first - 1] === BACKSLASH) first--;
  return (quote - first) % 2 === 1;
}

function isKey(bytes: Buffer, behind: number, end: number): boolean {
  let position = behind;
  while (position < end && (bytes[position] as number) <= SPACE) position++;
  return bytes[position] === COLON;
}
