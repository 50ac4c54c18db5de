import { FrameTooLargeError } from '../errors/protocol.errors.js';
import { HEADER_BYTES } from './frame-reader.js';
import { encodeJson, type JsonRules } from './json-codec.js';
import { LargeText } from './large-text.js';
import type { PackedPayload, Payload } from './payload.js';

/**
 * One encoded frame, header included. Small pure-ASCII frames are strings in which each character is one
 * byte: such strings can be joined for nothing and are written without a Buffer. Everything else is bytes.
 */
export type Frame = string | Buffer | SplitFrame;

/** A frame in parts, so that its payload need not be copied. */
export class SplitFrame {
  readonly length: number;

  constructor(
    /** One byte per character; so is the tail. */
    readonly head: string,
    readonly body: Buffer,
    readonly tail = '',
  ) {
    this.length = head.length + body.length + tail.length;
  }
}

/** The first byte of a body whose payload a codec wrote. No JSON begins with it. */
export const PACKED_MARK = 0x01;
/** Of such a body, before its JSON: the mark and the length of the JSON. */
export const PACKED_HEADER_BYTES = 5;

/** Above this a string would be copied once more on its way to the kernel than a Buffer is. */
const LARGEST_STRING_FRAME_BYTES = 16 * 1024;

/**
 * The frame of the body `head + payload + tail`. A payload in bytes stands last, behind the JSON with null in its place:
 *
 *     | length: u32 be | 0x01 | length of the JSON: u32 be | JSON | payload |
 *
 * @throws FrameTooLargeError (`notSent`) when the body exceeds `maxFrameBytes`.
 */
export function encodeFrame(head: string, payload: Payload, tail: string, maxFrameBytes: number): Frame {
  if (typeof payload === 'string') return encodeTextFrame(head, payload, tail, maxFrameBytes);
  return payload instanceof LargeText
    ? encodeSplitFrame(head, payload.bytes, tail, maxFrameBytes)
    : encodePackedFrame(`${head}null${tail}`, payload, maxFrameBytes);
}

/**
 * The frame of the body `head + payload`, in whatever form the payload is.
 * @throws FrameTooLargeError (`notSent`) when the body exceeds `maxFrameBytes`.
 */
export function encodeCompactFrame(head: string, payload: Payload, maxFrameBytes: number): Frame {
  if (typeof payload === 'string') return encodeTextFrame(head, payload, '', maxFrameBytes);
  return payload instanceof LargeText
    ? encodeSplitFrame(head, payload.bytes, '', maxFrameBytes)
    : encodeSplitFrame(head + payload.head, payload.bytes, '', maxFrameBytes);
}

function encodePackedFrame(json: string, payload: PackedPayload, maxFrameBytes: number): SplitFrame {
  const mark = String.fromCharCode(PACKED_MARK);
  return encodeSplitFrame(mark + header(json.length) + json + payload.head, payload.bytes, '', maxFrameBytes);
}

function encodeSplitFrame(head: string, body: Buffer, tail: string, maxFrameBytes: number): SplitFrame {
  const bodyBytes = head.length + body.length + tail.length;
  if (bodyBytes > maxFrameBytes)
    throw new FrameTooLargeError(bodyBytes, maxFrameBytes, { delivery: 'notSent' });
  return new SplitFrame(header(bodyBytes) + head, body, tail);
}

/**
 * The frame of the body `head + json + tail`. `head` and `tail` must be ASCII; `json` may be anything.
 * @throws FrameTooLargeError (`notSent`) when the body exceeds `maxFrameBytes`.
 */
export function encodeTextFrame(
  head: string,
  json: string,
  tail: string,
  maxFrameBytes: number,
): string | Buffer {
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
export function asciiJson(value: unknown, maxDepth?: number, rules?: JsonRules): string {
  const json = encodeJson(value, maxDepth, rules);
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
