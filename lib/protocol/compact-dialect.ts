import {
  CompactKind,
  decodeCompact,
  encodeCompactCall,
  encodeCompactResponse,
  isCompact,
} from './compact-frames.js';
import type { Speaker } from './dialect.js';
import { END, MORE } from './envelope.js';
import type { Frame } from './frame-writer.js';
import type { MessageBody } from './message-body.js';
import type { Payload } from './payload.js';
import { V2Dialect } from './v2-dialect.js';

/** Version 2 with compact frames for what is sent most; a message that says more than they can is JSON as ever. */
export class CompactDialect extends V2Dialect {
  override request(id: string, type: string, payload: Payload, extras: string, maxFrameBytes: number): Frame {
    return (
      this.call(CompactKind.Request, id, type, payload, extras, maxFrameBytes) ??
      super.request(id, type, payload, extras, maxFrameBytes)
    );
  }

  override event(id: string, type: string, payload: Payload, extras: string, maxFrameBytes: number): Frame {
    return (
      this.call(CompactKind.Push, id, type, payload, extras, maxFrameBytes) ??
      super.event(id, type, payload, extras, maxFrameBytes)
    );
  }

  override response(id: unknown, payload: Payload, extras: string, maxFrameBytes: number): Frame {
    const kind = RESPONSE_KINDS.get(extras);
    const frame =
      kind === undefined ? undefined : encodeCompactResponse(kind, id, this.sendable(payload), maxFrameBytes);
    return frame ?? super.response(id, payload, extras, maxFrameBytes);
  }

  override decode(
    bytes: Buffer,
    start: number,
    end: number,
    speaker: Speaker,
    text?: string,
  ): MessageBody | undefined {
    return isCompact(bytes[start], this.isPacking)
      ? decodeCompact(bytes, start, end, text, this.payloads)
      : super.decode(bytes, start, end, speaker, text);
  }

  private call(
    kind: typeof CompactKind.Request | typeof CompactKind.Push,
    id: string,
    type: string,
    payload: Payload,
    extras: string,
    maxFrameBytes: number,
  ): Frame | undefined {
    if (extras !== '') return undefined;
    return encodeCompactCall(kind, id, type, this.sendable(payload), maxFrameBytes);
  }
}

const RESPONSE_KINDS: ReadonlyMap<
  string,
  typeof CompactKind.Response | typeof CompactKind.More | typeof CompactKind.End
> = new Map([
  ['', CompactKind.Response],
  [MORE, CompactKind.More],
  [END, CompactKind.End],
] as const);
