import { MalformedFrameError } from '../errors/protocol.errors.js';
import { UNKNOWN_REQUEST_TYPE } from './capabilities.js';
import type { Dialect, ProtocolVersion, Speaker } from './dialect.js';
import {
  encodeFailure,
  encodeHeartbeat,
  encodeNotice,
  encodePush,
  encodeRequest,
  encodeResponse,
} from './envelope.js';
import { PACKED_HEADER_BYTES, PACKED_MARK, type Frame } from './frame-writer.js';
import { isRecord, MessageType, type MessageBody } from './message-body.js';
import { asMessageBody, decodeValue } from './message-protocol.js';
import { PackedPayload, PayloadCodec, type Payload } from './payload.js';

/** The current version of the protocol, with our extensions where the other end knows them. */
export class V2Dialect implements Dialect {
  readonly version: ProtocolVersion | undefined = 'v2';
  readonly hasHeartbeats = true;

  /** @param isPacking whether the other end has our codec */
  constructor(
    protected readonly payloads: PayloadCodec,
    protected readonly isPacking: boolean,
  ) {}

  encode(value: unknown): Payload {
    return this.isPacking ? this.payloads.encodeForOwn(value) : this.payloads.encodeText(value);
  }

  request(id: string, type: string, payload: Payload, extras: string, maxFrameBytes: number): Frame {
    return encodeRequest(id, type, this.sendable(payload), extras, maxFrameBytes);
  }

  push(id: string, type: string, payload: Payload, extras: string, maxFrameBytes: number): Frame | undefined {
    return this.event(id, type, payload, extras, maxFrameBytes);
  }

  event(id: string, type: string, payload: Payload, extras: string, maxFrameBytes: number): Frame {
    return encodePush(id, type, this.sendable(payload), extras, maxFrameBytes);
  }

  response(id: unknown, payload: Payload, extras: string, maxFrameBytes: number): Frame {
    return encodeResponse(id, this.sendable(payload), extras, maxFrameBytes);
  }

  failure(id: unknown, text: string, detail: unknown, maxFrameBytes: number): Frame {
    return encodeFailure(id, text, detail, maxFrameBytes);
  }

  unknownType(id: unknown): Frame {
    const detail = { code: 'UNKNOWN_PATTERN', message: UNKNOWN_REQUEST_TYPE };
    return encodeFailure(id, UNKNOWN_REQUEST_TYPE, detail, Infinity);
  }

  heartbeat(extras: string, id = ''): Frame | undefined {
    return encodeHeartbeat(extras, id);
  }

  ping(extras: string): Frame {
    return encodeHeartbeat(extras);
  }

  notice(id: string, text: string, detail: { readonly code: string } | undefined): Frame | undefined {
    return encodeNotice(id, text, detail);
  }

  decode(
    bytes: Buffer,
    start: number,
    end: number,
    _speaker?: Speaker,
    text?: string,
  ): MessageBody | undefined {
    if (bytes[start] === PACKED_MARK && start < end) return this.decodePacked(bytes, start, end);
    return asMessageBody(decodeValue(bytes, start, end, this.payloads.rules, text));
  }

  protected sendable(payload: Payload): Payload {
    return this.isPacking || !(payload instanceof PackedPayload) ? payload : payload.toText();
  }

  private decodePacked(bytes: Buffer, start: number, end: number): MessageBody {
    if (!this.isPacking || end - start < PACKED_HEADER_BYTES)
      throw new MalformedFrameError('bytes of a codec that was not agreed on');
    const jsonStart = start + PACKED_HEADER_BYTES;
    const jsonEnd = jsonStart + bytes.readUInt32BE(start + 1);
    if (jsonEnd > end) throw new MalformedFrameError('its JSON is longer than the frame');
    const body = asMessageBody(decodeValue(bytes, jsonStart, jsonEnd, this.payloads.rules));
    const value = this.payloads.unpack(bytes.subarray(jsonEnd, end));
    if (body.msg_type === MessageType.Response) return { ...body, data: value };
    if (!isRecord(body.data)) throw new MalformedFrameError('no place for its payload');
    return { ...body, data: { ...body.data, data: value } };
  }
}
