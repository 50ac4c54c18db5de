import { COMPACT_CAPS } from './compact.js';
import { frame, isObject, KIT_CAPS, response, type Received } from './wire.js';

/** How a version of the protocol says what the kit says to a client. */
export interface Dialect {
  readonly greeting: Buffer;
  /** The call in a frame of the client; undefined if it is none. */
  readCall(received: Received): Call | undefined;
  answer(id: unknown, data: unknown): Buffer;
}

/** What a client asks for. */
export interface Call {
  readonly id: unknown;
  readonly type: unknown;
  readonly data: unknown;
  readonly received: Received;
}

export const V2: Dialect = {
  greeting: response('', { account_id: 'acc1', conn_id: '00000001' }),
  readCall(received) {
    const { msg_type: msgType, request_id: id, data } = received.body;
    if (msgType !== 'request' && msgType !== 'push') return undefined;
    const inner = isObject(data) ? data : {};
    return { id, type: inner['type'], data: inner['data'], received };
  },
  answer: response,
};

export const V1: Dialect = {
  greeting: frame({ type: 'register', account_id: 'acc1', data: { account_id: 'acc1' } }),
  readCall(received) {
    const { type, request_id: id, data, msg_type: msgType } = received.body;
    return type === undefined || msgType !== undefined ? undefined : { id, type, data, received };
  },
  answer(id, data) {
    return frame({ type: 'response', request_id: id, status: 'success', data, message: '' });
  },
};

/** A greeting that invites the client to say hello. */
export function upgradedGreeting(maxFrameBytes = 16 * 1024 * 1024, caps = KIT_CAPS): Buffer {
  return response('', {
    account_id: 'acc1',
    conn_id: '00000001',
    caps,
    max_frame_bytes: maxFrameBytes,
  });
}

/** One that invites it to compact frames as well. */
export const COMPACT_GREETING = upgradedGreeting(undefined, COMPACT_CAPS);
