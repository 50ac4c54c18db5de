import { readInteger, readMeta } from '../protocol/guards.js';
import { readPayload, type MessageBody } from '../protocol/message-body.js';

/** What arrived: a request, which is answered, or an event, which is not. */
export interface IncomingMessage {
  readonly kind: 'request' | 'event';
  /** Whatever the caller sent as id; goes back unchanged. */
  readonly id: unknown;
  /** The pattern's string; or whatever else the caller sent. */
  readonly type: unknown;
  readonly data: unknown;
  /** Metadata beside the payload. */
  readonly meta: Readonly<Record<string, string>> | undefined;
  /** How long the caller still waits, in milliseconds from arrival. */
  readonly deadlineMs: number | undefined;
  /** How many values of a stream the caller takes for now; undefined if it takes them as they come. */
  readonly credit: number | undefined;
  /** Whether `data` is the output of a custom serializer. */
  readonly isPacket: boolean;
  /** Size on the wire. */
  readonly bytes: number;
}

/** @param bytes size of the body */
export function readIncoming(kind: 'request' | 'event', body: MessageBody, bytes: number): IncomingMessage {
  const payload = readPayload(body.data);
  return {
    kind,
    id: body.request_id,
    type: payload.type,
    data: payload.data,
    meta: body.meta === undefined ? undefined : readMeta(body.meta),
    deadlineMs: body.deadline_ms === undefined ? undefined : readInteger(body.deadline_ms),
    credit: body.credit === undefined ? undefined : readInteger(body.credit),
    isPacket: body.packet === true,
    bytes,
  };
}
