import { MalformedFrameError } from '../errors/protocol.errors.js';
import { encodeCompactFrame, type Frame } from './frame-writer.js';
import { MessageType, type MessageBody } from './message-body.js';
import { decodeJson } from './json-codec.js';
import { decodeValue, readUtf8 } from './message-protocol.js';
import { PackedPayload, type Payload, type PayloadCodec } from './payload.js';
import { TypeTexts } from './type-texts.js';

/**
 * The messages that are sent most, without the keys that say nothing: to read those of a small message takes as long as
 * to read its payload.
 *
 *     | kind: u8 | length of the id: u8 | id | length of the type: u8 | type | payload |     requests and pushes
 *     | kind: u8 | length of the id: u8 | id | payload |                                     responses
 *
 * No JSON begins with a kind. Id and type are ASCII, so that most frames are ASCII as a whole, and their lengths
 * below 128. The payload is JSON, or {@link PACKED_PAYLOAD} is added to the kind.
 */
export const CompactKind = {
  Request: 0x02,
  Push: 0x03,
  /** The whole answer. */
  Response: 0x04,
  /** One value of a stream. */
  More: 0x05,
  /** The end of a stream. No payload. */
  End: 0x06,
} as const;
export type CompactKind = (typeof CompactKind)[keyof typeof CompactKind];

/** Added to a kind: the payload is in the bytes of the codec that both ends have. */
const PACKED_PAYLOAD = 0x10;

const LONGEST = 0x7f;
/** Larger ones are not read as a whole, with their payload. */
const LARGEST_TEXT_BYTES = 2 * 1024;
/** A piece of a text of this length refers to the whole, which it would keep as long as it lives itself. */
const SHORTEST_REFERENCE = 13;

const BYTES = Array.from({ length: LONGEST + 1 }, (_, byte) => String.fromCharCode(byte));
const NOT_ASCII = /[^\0-\x7f]/;

/** Its length and itself; empty for those that cannot be sent so. */
const typeTexts = new TypeTexts((type) =>
  type.length > LONGEST || NOT_ASCII.test(type) ? '' : `${BYTES[type.length]}${type}`,
);

/**
 * A request or push. Undefined if it has to be sent in another form.
 * @param id ASCII
 * @throws FrameTooLargeError
 */
export function encodeCompactCall(
  kind: typeof CompactKind.Request | typeof CompactKind.Push,
  id: string,
  type: string,
  payload: Payload,
  maxFrameBytes: number,
): Frame | undefined {
  const typeText = typeTexts.of(type);
  if (typeText === '' || id.length > LONGEST) return undefined;
  const head = `${markOf(kind, payload)}${BYTES[id.length]}${id}${typeText}`;
  return encodeCompactFrame(head, payload, maxFrameBytes);
}

/** As {@link encodeCompactCall}. @param id the request's id, whatever it was */
export function encodeCompactResponse(
  kind: typeof CompactKind.Response | typeof CompactKind.More | typeof CompactKind.End,
  id: unknown,
  payload: Payload,
  maxFrameBytes: number,
): Frame | undefined {
  if (!isShortAscii(id)) return undefined;
  const content = kind === CompactKind.End ? '' : payload;
  return encodeCompactFrame(`${markOf(kind, content)}${BYTES[id.length]}${id}`, content, maxFrameBytes);
}

/** @param mark first byte of a body @param isPacking whether the other end may use our codec */
export function isCompact(mark: number | undefined, isPacking: boolean): boolean {
  if (mark === undefined) return false;
  const kind = isPacking ? mark & ~PACKED_PAYLOAD : mark;
  return kind >= CompactKind.Request && kind <= CompactKind.End;
}

/**
 * The message in the bytes `start` to `end`, of which the first {@link isCompact}.
 * @param given text of these bytes, if it has been read already
 * @throws MalformedFrameError
 */
export function decodeCompact(
  bytes: Buffer,
  start: number,
  end: number,
  given: string | undefined,
  payloads: PayloadCodec,
): MessageBody {
  const mark = bytes[start] as number;
  const kind = mark & ~PACKED_PAYLOAD;
  const isCall = kind === CompactKind.Request || kind === CompactKind.Push;
  const idStart = start + 2;
  const idEnd = idStart + byteAt(bytes, start + 1, end);
  const typeStart = isCall ? idEnd + 1 : idEnd;
  const typeEnd = isCall ? typeStart + byteAt(bytes, idEnd, end) : idEnd;
  if (typeEnd > end) throw new MalformedFrameError('its head is longer than the frame');

  const isPacked = mark !== kind;
  const text = given ?? (isPacked ? undefined : readAscii(bytes, start, end));
  const id = text === undefined ? bytes.toString('latin1', idStart, idEnd) : text.substring(2, idEnd - start);
  let data: unknown = null;
  if (kind === CompactKind.End) expectNoPayload(typeEnd, end);
  else if (isPacked) data = payloads.unpack(bytes.subarray(typeEnd, end));
  else if (text === undefined) data = decodeValue(bytes, typeEnd, end, payloads.rules);
  else data = decodeJson(text.substring(typeEnd - start), payloads.rules);

  if (!isCall) return new CompactResponse(id, data, kind === CompactKind.More, kind === CompactKind.End);
  const type =
    text === undefined
      ? bytes.toString('latin1', typeStart, typeEnd)
      : text.substring(typeStart - start, typeEnd - start);
  return new CompactCall(
    kind === CompactKind.Request ? MessageType.Request : MessageType.Push,
    asOwnText(id),
    new CompactPayload(asOwnText(type), data),
  );
}

/** By hand, since this is asked of every answer. */
function isShortAscii(id: unknown): id is string {
  if (typeof id !== 'string' || id.length > LONGEST) return false;
  for (let i = 0; i < id.length; i++) if (id.charCodeAt(i) > LONGEST) return false;
  return true;
}

function markOf(kind: CompactKind, payload: Payload): string {
  return BYTES[payload instanceof PackedPayload ? kind | PACKED_PAYLOAD : kind] as string;
}

function byteAt(bytes: Buffer, position: number, end: number): number {
  if (position < end) return bytes[position] as number;
  throw new MalformedFrameError('its head is longer than the frame');
}

function expectNoPayload(position: number, end: number): void {
  if (position !== end) throw new MalformedFrameError('the end of a stream has no payload');
}

/** Undefined if it is large, or not ASCII as a whole, so that positions in it would be others. */
function readAscii(bytes: Buffer, start: number, end: number): string | undefined {
  if (end - start > LARGEST_TEXT_BYTES) return undefined;
  const text = readUtf8(bytes, start, end);
  return text.length === end - start ? text : undefined;
}

/** A copy, if it is a reference: calls may live for long. */
function asOwnText(text: string): string {
  return text.length < SHORTEST_REFERENCE ? text : ` ${text}`.slice(1);
}

/** Objects of few shapes, which makes them fast to look at. */
class CompactCall implements MessageBody {
  readonly timestamp = '';

  constructor(
    readonly msg_type: MessageType,
    readonly request_id: string,
    readonly data: CompactPayload,
  ) {}
}

class CompactPayload {
  constructor(
    readonly type: string,
    readonly data: unknown,
  ) {}
}

class CompactResponse implements MessageBody {
  readonly msg_type = MessageType.Response;
  readonly timestamp = '';
  readonly error = null;

  constructor(
    readonly request_id: string,
    readonly data: unknown,
    readonly more: boolean,
    readonly end: boolean,
  ) {}
}
