import { MalformedFrameError } from '../errors/protocol.errors.js';
import type { Dialect, Speaker } from './dialect.js';
import { now } from './envelope.js';
import type { Frame } from './frame-writer.js';
import { isRecord, type MessageBody } from './message-body.js';
import { asMessageBody, decodeValue } from './message-protocol.js';
import type { Payload, PayloadCodec } from './payload.js';
import type { V1ClientDialect, V1ServerDialect } from './v1-dialect.js';
import { encodeV1Push } from './v1-envelope.js';
import { V2Dialect } from './v2-dialect.js';

/** Until the first frame from the other end tells its version. What is sent before means the same in both. */
export class UndecidedDialect extends V2Dialect {
  override readonly version = undefined;

  constructor(
    payloads: PayloadCodec,
    private readonly v2: Dialect,
    private readonly v1: V1ServerDialect | V1ClientDialect,
    private readonly accountId: string,
  ) {
    super(payloads, false);
  }

  /** Two frames, of which a client sees one: V1 has no use for the first, and to V2 the second is a heartbeat. */
  override push(
    id: string,
    type: string,
    payload: Payload,
    extras: string,
    maxFrameBytes: number,
  ): Frame | undefined {
    const json = typeof payload === 'string' ? payload : payload.toText();
    const first = this.v2.push(id, type, json, extras, maxFrameBytes) as string | Buffer;
    if (this.v1.push(id, type, json, extras, Infinity) === undefined) return first;
    const disguise = `,"msg_type":"heartbeat","request_id":"","timestamp":"${now()}","error":null`;
    const second = encodeV1Push(type, this.accountId, json, disguise, Infinity) as string | Buffer;
    return typeof first === 'string' && typeof second === 'string'
      ? first + second
      : Buffer.concat([bytesOf(first), bytesOf(second)]);
  }

  override decode(bytes: Buffer, start: number, end: number, speaker: Speaker): MessageBody | undefined {
    const { rules } = this.payloads;
    // Only what makes a message in either version is read in its terms.
    const value = decodeValue(bytes, start, end, { ...rules, hasTags: false });
    if (!isRecord(value)) throw new MalformedFrameError('no message: not an object');
    if (value['msg_type'] !== undefined) {
      speaker.dialect = this.v2;
      return asMessageBody(decodeValue(bytes, start, end, rules));
    }
    const isV1 =
      value['type'] !== undefined || (value['request_id'] !== undefined && value['timestamp'] === undefined);
    if (!isV1) throw new MalformedFrameError('no message of any version');
    speaker.dialect = this.v1;
    return this.v1.read(value);
  }
}

function bytesOf(frame: string | Buffer): Buffer {
  return typeof frame === 'string' ? Buffer.from(frame, 'latin1') : frame;
}
