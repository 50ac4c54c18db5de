import { MalformedFrameError } from '../errors/protocol.errors.js';
import { UNKNOWN_REQUEST_TYPE } from './capabilities.js';
import type { Dialect, Speaker } from './dialect.js';
import type { Frame } from './frame-writer.js';
import { encodeJson, type JsonRules } from './json-codec.js';
import { MAX_VALUE_DEPTH } from './value-rules.js';
import { isRecord, MessageType, type MessageBody } from './message-body.js';
import { decodeValue } from './message-protocol.js';
import type { Payload } from './payload.js';
import { encodeV1Failure, encodeV1Push, encodeV1Request, encodeV1Response } from './v1-envelope.js';

/** Types with a meaning of their own, which a client would not take for a push. */
const RESERVED_TYPES: ReadonlySet<string> = new Set(['response', 'register']);
/** Answered by every V1 server; the only way to learn that one is well. */
const PING = 'ping';
const PING_ID = 'ping';

export interface V1Settings {
  readonly accountId: string;
  /** Whether integers beyond 2^53 are BigInts. */
  readonly isExact: boolean;
  /** Whether results stand in `message` too; see {@link encodeV1Response}. */
  readonly isResultRepeated: boolean;
}

/** What both ends of version 1 have in common. Their JSON knows no tag for binary: it reads as an object. */
abstract class V1Dialect implements Dialect {
  readonly version = 'v1';
  readonly hasHeartbeats = false;
  private readonly rules: JsonRules;

  constructor(protected readonly settings: V1Settings) {
    this.rules = { hasTags: false, isExact: settings.isExact };
  }

  encode(value: unknown): Payload {
    return encodeJson(value, MAX_VALUE_DEPTH, this.rules);
  }

  request(id: string, type: string, payload: Payload, _extras: string, maxFrameBytes: number): Frame {
    return encodeV1Request(id, type, textOf(payload), maxFrameBytes);
  }

  /** A server takes nothing but requests. */
  event(id: string, type: string, payload: Payload, extras: string, maxFrameBytes: number): Frame {
    return this.request(id, type, payload, extras, maxFrameBytes);
  }

  push(_id: string, type: string, payload: Payload, _extras: string, maxFrameBytes: number) {
    return RESERVED_TYPES.has(type)
      ? undefined
      : encodeV1Push(type, this.settings.accountId, textOf(payload), '', maxFrameBytes);
  }

  response(id: unknown, payload: Payload, _extras: string, maxFrameBytes: number): Frame {
    return encodeV1Response(id, textOf(payload), this.settings.isResultRepeated, maxFrameBytes);
  }

  failure(id: unknown, text: string, _detail: unknown, _maxFrameBytes: number): Frame {
    return encodeV1Failure(id, text);
  }

  unknownType(id: unknown, type: unknown): Frame {
    if (type === PING) return this.response(id, '{"status":"ok"}', '', Infinity);
    return encodeV1Failure(id, UNKNOWN_REQUEST_TYPE);
  }

  abstract heartbeat(extras: string): Frame | undefined;

  ping(): Frame {
    return encodeV1Request(PING_ID, PING, '{}', Infinity);
  }

  notice(): undefined {
    return undefined;
  }

  decode(
    bytes: Buffer,
    start: number,
    end: number,
    _speaker?: Speaker,
    text?: string,
  ): MessageBody | undefined {
    return this.read(decodeValue(bytes, start, end, this.rules, text));
  }

  /** The message in a decoded value; undefined if it says nothing. @throws MalformedFrameError */
  abstract read(value: unknown): MessageBody | undefined;
}

/** A server's side of version 1. */
export class V1ServerDialect extends V1Dialect {
  /** To find out whether a client is still there. */
  heartbeat(): Frame | undefined {
    return encodeV1Push('heartbeat', this.settings.accountId, '{}', '', Infinity);
  }

  read(value: unknown): MessageBody | undefined {
    if (value === null) return undefined;
    if (!isRecord(value)) throw new MalformedFrameError('no message: not an object');
    if (value['msg_type'] !== undefined) throw new MalformedFrameError('version 2 from a version 1 client');
    const { type, request_id: id, data } = value;
    // Nothing without an id is answered, so it is no request either.
    if (id === undefined || id === null) return undefined;
    return message(MessageType.Request, id, { type, data });
  }
}

/** How a V1 server says that it knows no such request: "unregistered request type". */
const UNKNOWN_TYPE_IN_CHINESE = '\u672a\u6ce8\u518c\u7684\u8bf7\u6c42\u7c7b\u578b';

/** A client's side of version 1. */
export class V1ClientDialect extends V1Dialect {
  heartbeat(): undefined {
    return undefined;
  }

  read(value: unknown): MessageBody | undefined {
    if (!isRecord(value)) throw new MalformedFrameError('no message: not an object');
    const { type, data } = value;
    switch (type) {
      // A server that speaks both versions writes some messages in both.
      case undefined:
        return undefined;
      case 'register':
        if (!isRecord(data)) throw new MalformedFrameError('a greeting without data');
        // One for both versions shows what only its V2 half can do.
        return message(MessageType.Response, '', { ...data, caps: undefined });
      case 'response':
        return readResponse(value);
      case 'heartbeat':
        return message(MessageType.Heartbeat, '', null);
      default:
        return message(MessageType.Push, '', { type, data });
    }
  }
}

function readResponse(value: Record<string, unknown>): MessageBody {
  const { request_id: id, status, data, message: text } = value;
  if (id === PING_ID) return message(MessageType.Heartbeat, '', null);
  if (status !== 'error') return message(MessageType.Response, id ?? null, data ?? null);
  const error = textOfFailure(text) ?? textOfFailure(isRecord(data) ? data['message'] : undefined);
  const isUnknown = error?.startsWith(UNKNOWN_TYPE_IN_CHINESE) === true;
  return {
    ...message(MessageType.Response, id ?? null, null),
    error: error ?? 'Unknown error',
    ...(isUnknown ? { error_detail: { code: 'UNKNOWN_PATTERN' } } : {}),
  };
}

function textOfFailure(text: unknown): string | undefined {
  return typeof text === 'string' && text !== '' ? text : undefined;
}

function message(type: MessageType, id: unknown, data: unknown): MessageBody {
  return { msg_type: type, request_id: id, data, timestamp: null, error: null };
}

function textOf(payload: Payload): string {
  return typeof payload === 'string' ? payload : payload.toText();
}
