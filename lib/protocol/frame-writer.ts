import { FrameTooLargeError } from '../errors/protocol.errors.js';
import { HEADER_BYTES } from './frame-reader.js';
import { encodeJson } from './json-codec.js';

/**
 * One encoded frame, header included. Small pure-ASCII frames are strings in which each character is one
 * byte: such strings can be joined for nothing and are written without a Buffer. Everything else is bytes.
 */
export type Frame = string | Buffer;

/** Above this a string would be copied once more on its way to the kernel than a Buffer is. */
const LARGEST_STRING_FRAME_BYTES = 8 * 1024;

/**
 * The frame of the body `head + json + tail`. `head` and `tail` must be ASCII; `json` may be anything.
 * @throws FrameTooLargeError (`notSent`) when the body exceeds `maxFrameBytes`.
 */
export function encodeFrame(head: string, json: string, tail: string, maxFrameBytes: number): Frame {
  const jsonBytes = Buffer.byteLength(json);
  const bodyBytes = head.length + jsonBytes + tail.length;
  if (bodyBytes > maxFrameBytes)
    throw new FrameTooLargeError(bodyBytes, maxFrameBytes, { delivery: 'notSent' });
  const isAscii = jsonBytes === json.length;
  if (isAscii && bodyBytes <= LARGEST_STRING_FRAME_BYTES) return header(bodyBytes) + head + json + tail;

  const frame = Buffer.allocUnsafe(HEADER_BYTES + bodyBytes);
  frame.writeUInt32BE(bodyBytes, 0);
  let position = HEADER_BYTES;
  position += frame.write(head, position, 'latin1');
  position += frame.write(json, position, isAscii ? 'latin1' : 'utf8');
  frame.write(tail, position, 'latin1');
  return frame;
}

/** `value` as JSON text in ASCII alone: everything else escaped, as the original writes it. @throws EncodeError */
export function asciiJson(value: unknown, maxDepth?: number): string {
  const json = encodeJson(value, maxDepth);
  return Buffer.byteLength(json) === json.length ? json : json.replace(NOT_ASCII, escape);
}

const NOT_ASCII = /[\u0080-\uffff]/g;

function escape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

function header(bodyBytes: number): string {
  return String.fromCharCode(
    bodyBytes >>> 24,
    (bodyBytes >>> 16) & 0xff,
    (bodyBytes >>> 8) & 0xff,
    bodyBytes & 0xff,
  );
}
