import { isAscii, isUtf8 } from 'node:buffer';
import { MalformedFrameError } from '../errors/protocol.errors.js';
import { HEADER_BYTES } from './frame-reader.js';
import { encodeTextFrame } from './frame-writer.js';
import { decodeExtract, decodeJson, encodeJson, PLAIN_JSON, type JsonRules } from './json-codec.js';
import { extractLargeStrings, LARGE_STRING_LENGTH } from './large-text.js';
import { isMessageBody, type MessageBody } from './message-body.js';

/**
 * The JSON value in the bytes `start` to `end`.
 * @param text of these bytes, if they are ASCII and have been read already
 * @throws MalformedFrameError for anything a V2 peer closes its connection on.
 */
export function decodeValue(
  bytes: Buffer,
  start: number,
  end: number,
  rules = PLAIN_JSON,
  text?: string,
): unknown {
  if (start === end) throw new MalformedFrameError('empty');
  if (text !== undefined) return decodeJson(text, rules);
  const isLarge = end - start > LARGE_TEXT_BYTES;
  if (!isLarge || !isAscii(bytes.subarray(start, end))) return decodeJson(readUtf8(bytes, start, end), rules);
  return decodeLarge(bytes, start, end, rules) ?? decodeJson(bytes.toString('latin1', start, end), rules);
}

/** @throws MalformedFrameError */
export function readUtf8(bytes: Buffer, start: number, end: number): string {
  const text = bytes.toString('utf8', start, end);
  // Invalid UTF-8 reads as U+FFFD, which a peer may also have meant; only then the bytes are looked at again.
  if (text.includes('\ufffd') && !isUtf8(bytes.subarray(start, end)))
    throw new MalformedFrameError('not UTF-8');
  return text;
}

/** Undefined if there is nothing large in it, or something wrong, which reading it as a whole says better. */
function decodeLarge(bytes: Buffer, start: number, end: number, rules: JsonRules): unknown {
  if (end - start <= LARGE_STRING_LENGTH || rules.isExact) return undefined;
  const extract = extractLargeStrings(bytes, start, end);
  try {
    return extract && decodeExtract(extract, rules);
  } catch {
    return undefined;
  }
}

/** @throws MalformedFrameError if it is no V2 message */
export function asMessageBody(value: unknown): MessageBody {
  if (isMessageBody(value)) return value;
  throw new MalformedFrameError('no message: a required key is missing or msg_type is unknown');
}

/** Above this, finding out that a text is ASCII costs less than reading it as UTF-8. */
const LARGE_TEXT_BYTES = 2 * 1024;

/** What the length field can say. */
const LARGEST_LENGTH = 0xffff_ffff;

/** Whole messages to bytes and back, for tools and tests; connections use the parts of this layer directly. */
export const MessageProtocol = {
  /** The frame of `body`, header included. @throws EncodeError */
  encode(body: MessageBody): Buffer {
    const frame = encodeTextFrame('', encodeJson(body), '', LARGEST_LENGTH);
    return typeof frame === 'string' ? Buffer.from(frame, 'latin1') : frame;
  },

  /**
   * The message of the first frame in `bytes`; undefined while it is incomplete.
   * @throws MalformedFrameError
   */
  decode(bytes: Buffer): MessageBody | undefined {
    if (bytes.length < HEADER_BYTES) return undefined;
    const end = HEADER_BYTES + bytes.readUInt32BE(0);
    return end > bytes.length ? undefined : asMessageBody(decodeValue(bytes, HEADER_BYTES, end));
  },
} as const;
