import { randomBytes, randomUUID } from 'node:crypto';
import { formatTimestamp } from './timestamp.js';

/** The five kinds of message. A V2 peer closes the connection on any other. */
export const MessageType = {
  Heartbeat: 'heartbeat',
  Request: 'request',
  Response: 'response',
  Push: 'push',
  Error: 'error',
} as const;
export type MessageType = (typeof MessageType)[keyof typeof MessageType];

/**
 * One message as it stands on the wire: the five keys of the protocol and, between upgraded ends, the
 * extension keys. Only `msg_type` has been checked on a received one; every other value is whatever the
 * peer wrote.
 *
 * @see docs/wire.md
 */
export interface MessageBody {
  readonly msg_type: MessageType;
  /** Ties a response to its request; `''` where there is none. */
  readonly request_id: unknown;
  readonly data: unknown;
  /** Local time without a zone, `2024-01-02T03:04:05.000006`. Never read. */
  readonly timestamp: unknown;
  /** Text of a failure. Anything falsy is no failure. */
  readonly error?: unknown;
  /** Who the client is and what it understands; on its first heartbeat to an upgraded server. */
  readonly hello?: unknown;
  /** Metadata beside the payload: an object of strings. */
  readonly meta?: unknown;
  /** How long the caller will still wait, in milliseconds. */
  readonly deadline_ms?: unknown;
  /** `true`: one value of a stream, others follow. */
  readonly more?: unknown;
  /** `true`: the stream is complete; this frame carries no value. */
  readonly end?: unknown;
  /** How many more values of a stream may be sent; on its request, or on a heartbeat with the id of the request. */
  readonly credit?: unknown;
  /** `{ code, message, … }` beside the `error` text. */
  readonly error_detail?: unknown;
  /** `true`: `data` (or the request's inner `data`) is the output of a custom serializer. */
  readonly packet?: unknown;
  /** Please answer with `probe_ack` and the same number. */
  readonly probe?: unknown;
  readonly probe_ack?: unknown;
  /** On a push to kept rooms: its number in each. */
  readonly seq?: unknown;
  /** On a heartbeat: what the ends tell each other about kept rooms. */
  readonly resume?: unknown;
  /** `true`, on a push: please answer with a `response` once it is handled. */
  readonly ack?: unknown;
  /** `true`, on a heartbeat to a server that allows it: a successor asks for its path. */
  readonly take_over?: unknown;
}

/** 16 hex digits; for peers that make their own requests. */
export function generateRequestId(): string {
  return randomBytes(8).toString('hex');
}

/** A request for `data.type` with the payload `data.data`. */
export function createRequest(
  data: { type: string; data: unknown },
  requestId: string = randomUUID(),
): MessageBody {
  return body(MessageType.Request, requestId, data, null);
}

/** The answer to `requestId`. With `error`, `data` is dropped: a failed response carries null. */
export function createResponse(data: unknown, requestId: string, error: string | null = null): MessageBody {
  // An empty error reads as none, and is never sent.
  return body(MessageType.Response, requestId, error ? null : data, error === '' ? null : error);
}

export function createHeartbeat(): MessageBody {
  return body(MessageType.Heartbeat, '', null, null);
}

export function createPush(type: string, data: unknown, requestId: string = randomUUID()): MessageBody {
  return body(MessageType.Push, requestId, { type, data }, null);
}

/** An `error` frame. Peers ignore it; a failed request is answered with {@link createResponse}. */
export function createError(error: string, requestId = ''): MessageBody {
  return body(MessageType.Error, requestId, null, error);
}

const MESSAGE_TYPES: ReadonlySet<unknown> = new Set(Object.values(MessageType));

/** Whether a decoded JSON value has the keys that make it a message, with a known `msg_type`. */
export function isMessageBody(value: unknown): value is MessageBody {
  if (typeof value !== 'object' || value === null) return false;
  const candidate = value as Partial<MessageBody>;
  // JSON has no undefined, so undefined is the same as absent.
  return (
    MESSAGE_TYPES.has(candidate.msg_type) &&
    candidate.request_id !== undefined &&
    candidate.data !== undefined &&
    candidate.timestamp !== undefined
  );
}

/** The `{ type, data }` inside a request or push. A missing inner `data` reads as `{}`, as it does for the original. */
export interface Payload {
  readonly type: unknown;
  readonly data: unknown;
}

export function readPayload(data: unknown): Payload {
  if (!isRecord(data)) return { type: undefined, data: {} };
  const inner = data['data'];
  return { type: data['type'], data: inner === undefined ? {} : inner };
}

/** A plain JSON object: no array, no decoded bytes, not null. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !Buffer.isBuffer(value);
}

function body(msgType: MessageType, requestId: string, data: unknown, error: string | null): MessageBody {
  return {
    msg_type: msgType,
    request_id: requestId,
    data: data === undefined ? null : data,
    timestamp: formatTimestamp(Date.now()),
    error,
  };
}
