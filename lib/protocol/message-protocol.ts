import { isAscii, isUtf8 } from 'node:buffer';
import { MalformedFrameError } from '../errors/protocol.errors.js';
import { HEADER_BYTES } from './frame-reader.js';
import { encodeTextFrame } from './frame-writer.js';
import { decodeExtract, decodeJson, encodeJson, PLAIN_JSON } from './json-codec.js';
import { extractLargeStrings, LARGE_STRING_LENGTH } from './large-text.js';
import { isMessageBody, type MessageBody } from './message-body.js';

/**
 * The JSON value in the bytes `start` to `end`.
 * @throws MalformedFrameError for anything a V2 peer closes its connection on.
 */
export function decodeValue(bytes: Buffer, start: number, end: number, rules = PLAIN_JSON): unknown {
  if (start === end) throw new MalformedFrameError('empty');
  const isLatin = end - start > LARGE_TEXT_BYTES && isAscii(bytes.subarray(start, end));
  if (isLatin && end - start > LARGE_STRING_LENGTH && !rules.isExact) {
    const extract = extractLargeStrings(bytes, start, end);
    if (extract !== undefined) {
      try {
        return decodeExtract(extract, rules);
      } catch {
        // Reading all of it as text, without anything of ours in it, says better what is wrong.
      }
    }
  }
  const text = bytes.toString(isLatin ? 'latin1' : 'utf8', start, end);
  // Invalid UTF-8 reads as U+FFFD, which a peer may also have meant; only then the bytes are looked at again.
  if (text.includes('\ufffd') && !isUtf8(bytes.subarray(start, end)))
    throw new MalformedFrameError('not UTF-8');
  return decodeJson(text, rules);
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
