import { asciiJson, encodeFrame, type Frame } from './frame-writer.js';
import { type JsonRules } from './json-codec.js';
import { MAX_DEPTH } from './value-rules.js';
import type { Payload } from './payload.js';
import { formatTimestamp } from './timestamp.js';
import { TypeTexts } from './type-texts.js';

/**
 * The frames a peer sends, each built around one JSON text of its data. Writing the envelope as text costs a
 * fraction of building an object and stringifying it. `extras` are extension keys as a JSON fragment such as
 * `,"more":true`; see {@link extra}.
 */

/** `extras` of one value of a stream, and of its end. */
export const MORE = ',"more":true';
export const END = ',"end":true';

const NO_JSON = 'null';

/** From the end of the id to the payload. */
const innerHeads = new TypeTexts((type) => `","data":{"type":${asciiJson(type)},"data":`);

/** An extension key as a fragment for `extras`: `,"key":value`. Empty for undefined. */
export function extra(key: string, value: unknown): string {
  return value === undefined ? '' : `,"${key}":${asciiJson(value)}`;
}

export function encodeRequest(
  id: string,
  type: string,
  payload: Payload,
  extras: string,
  maxFrameBytes: number,
): Frame {
  return encodeFrame(
    `{"msg_type":"request","request_id":"${id}${innerHeads.of(type)}`,
    payload,
    innerTrailer(extras),
    maxFrameBytes,
  );
}

export function encodePush(
  id: string,
  type: string,
  payload: Payload,
  extras: string,
  maxFrameBytes: number,
): Frame {
  return encodeFrame(
    `{"msg_type":"push","request_id":"${id}${innerHeads.of(type)}`,
    payload,
    innerTrailer(extras),
    maxFrameBytes,
  );
}

/** @param id the request's id, whatever it was: it goes back unchanged */
export function encodeResponse(id: unknown, payload: Payload, extras: string, maxFrameBytes: number): Frame {
  return encodeFrame(
    `{"msg_type":"response","request_id":${idJson(id)},"data":`,
    payload,
    trailer(extras),
    maxFrameBytes,
  );
}

/** A failed response. An empty text would read as success, so it never goes out. */
export function encodeFailure(id: unknown, text: string, detail: unknown, maxFrameBytes: number): Frame {
  return encodeFrame(
    `{"msg_type":"response","request_id":${idJson(id)},"data":null,"timestamp":"${now()}","error":`,
    asciiJson(text === '' ? 'Unknown error' : text),
    `${extra('error_detail', detail)}}`,
    maxFrameBytes,
  );
}

/** @param id one of our own, or empty */
export function encodeHeartbeat(extras: string, id = ''): Frame {
  return encodeFrame(
    `{"msg_type":"heartbeat","request_id":"${id}","data":`,
    NO_JSON,
    trailer(extras),
    Infinity,
  );
}

/**
 * An `error` frame, which V2 peers ignore. With a request's id it is a cancel; with an empty id it tells of
 * going away, of a refusal or of a protocol error, with the code in `detail`.
 */
export function encodeNotice(id: string, text: string, detail: { readonly code: string } | undefined): Frame {
  return encodeFrame(
    `{"msg_type":"error","request_id":"${id}","data":null,"timestamp":"${now()}","error":`,
    asciiJson(text),
    `${extra('error_detail', detail)}}`,
    Infinity,
  );
}

/** The end of nearly every message, made once a millisecond; and of those whose data is within `data`. */
let trailedTimestamp = '';
let bareTrailer = '';
let bareInnerTrailer = '';

function trailer(extras: string): string {
  refreshTrailers();
  return extras === '' ? bareTrailer : `,"timestamp":"${trailedTimestamp}","error":null${extras}}`;
}

function innerTrailer(extras: string): string {
  refreshTrailers();
  return extras === '' ? bareInnerTrailer : `},"timestamp":"${trailedTimestamp}","error":null${extras}}`;
}

function refreshTrailers(): void {
  const timestamp = now();
  if (timestamp === trailedTimestamp) return;
  trailedTimestamp = timestamp;
  bareTrailer = `,"timestamp":"${timestamp}","error":null}`;
  bareInnerTrailer = `}${bareTrailer}`;
}

export function now(): string {
  return formatTimestamp(Date.now());
}

const ANY_VALUE: JsonRules = { hasTags: false, isExact: true };

/** Ids of our own and UUIDs need no escaping, which is worth knowing on every single answer. */
const PLAIN_ID = /^[\w-]{1,64}$/;

/** The last of them: the values of a stream all have the same. */
let lastPlainId: string | undefined;

function isPlainId(id: unknown): id is string {
  if (typeof id !== 'string') return false;
  if (id === lastPlainId) return true;
  if (!PLAIN_ID.test(id)) return false;
  lastPlainId = id;
  return true;
}

export function idJson(id: unknown): string {
  // Whatever could be read can be sent back.
  return isPlainId(id) ? `"${id}"` : asciiJson(id, MAX_DEPTH, ANY_VALUE);
}
