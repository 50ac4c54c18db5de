import type { ProducerSerializer } from '@nestjs/microservices';
import type { CallOptions } from '../calls/pending-call.js';
import { EncodeError } from '../errors/protocol.errors.js';
import type { Metadata } from '../protocol/guards.js';
import type { Payload } from '../protocol/payload.js';
import { UnixSocketRecord } from './unix-socket.record-builder.js';

/** One call of a Nest client, as its link takes it. */
export interface OutgoingCall<O extends CallOptions = CallOptions> {
  readonly type: string;
  readonly payload: Payload;
  readonly options: O;
}

/** What Nest's hook sees, and may give metadata. */
export interface DispatchedPacket {
  pattern: unknown;
  data: unknown;
  metadata?: Metadata;
}

export type DispatchHook = (packet: DispatchedPacket) => void;

const NO_OPTIONS: CallOptions = {};

/** Makes calls of what applications send: plain data and records, past a hook and a serializer if there are any. */
export class OutgoingCalls {
  /** @param serializer of one's own; undefined for none */
  constructor(
    private readonly encode: (data: unknown) => Payload,
    private readonly serializer: ProducerSerializer | undefined,
  ) {}

  /** @throws EncodeError */
  prepare(
    kind: 'request' | 'event',
    type: string,
    pattern: unknown,
    input: unknown,
    hook: DispatchHook | undefined,
  ): OutgoingCall {
    const isRecord = input instanceof UnixSocketRecord;
    const data: unknown = isRecord ? input.data : input;
    if (data === undefined) throw new EncodeError('a record needs data; send null for none');
    let options: CallOptions = isRecord ? input.options : NO_OPTIONS;
    const { serializer } = this;
    if (hook === undefined && serializer === undefined) return { type, payload: this.encode(data), options };

    const packet: DispatchedPacket = { pattern, data };
    hook?.(packet);
    if (packet.metadata !== undefined)
      options = { ...options, meta: { ...packet.metadata, ...options.meta } };
    if (serializer === undefined) return { type, payload: this.encode(data), options };
    // As Nest's clients show them: what has an id is a request, and an event has its pattern as text.
    const shown = kind === 'request' ? { ...packet, id: '' } : { ...packet, pattern: type };
    const serialized: unknown = serializer.serialize(shown);
    return { type, payload: this.encode(serialized), options: { ...options, isPacket: true } };
  }
}

/** With options of the call itself, which count beside those of a record. */
export function withOptions<O extends CallOptions>(
  call: OutgoingCall,
  options: O,
): OutgoingCall<O & CallOptions> {
  const { meta } = call.options;
  const merged = { ...call.options, ...options };
  return {
    ...call,
    options: meta === undefined ? merged : { ...merged, meta: { ...meta, ...options.meta } },
  };
}
