import { randomBytes } from 'node:crypto';
import { EncodeError } from '../errors/protocol.errors.js';
import type { ServerDialects } from '../protocol/dialects.js';
import { extra } from '../protocol/envelope.js';
import type { Metadata } from '../protocol/guards.js';
import { PushFrames } from '../protocol/push-frames.js';
import type { RoomPosition } from '../protocol/room-positions.js';

/** Encodes the pushes of one server, each under an id of its own. */
export class PushEncoder {
  private readonly idPrefix = `${randomBytes(6).toString('hex')}-`;
  private count = 0;

  constructor(
    private readonly dialects: ServerDialects,
    private readonly maxFrameBytes: number,
  ) {}

  /** @param seq its numbers in kept rooms @throws EncodeError, FrameTooLargeError */
  encode(type: string, data: unknown, meta: Metadata | undefined, seq?: readonly RoomPosition[]): PushFrames {
    if (data === undefined) throw new EncodeError('a push needs data; send null for none');
    const id = `${this.idPrefix}${++this.count}`;
    const { v2 } = this.dialects;
    const payload = v2.payloads.encode(data);
    const extras = extra('meta', meta) + extra('seq', seq);
    return new PushFrames(id, type, payload, extras, this.maxFrameBytes, v2.main);
  }
}
