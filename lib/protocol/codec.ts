import { packValue } from './msgpack-writer.js';
import { unpackValue } from './msgpack-reader.js';

/**
 * How payloads become bytes between two upgraded ends that both have the codec; everything else about a message stays
 * JSON. Where the other end does not have it, payloads are written as JSON.
 * @example
 * import { decode, encode } from 'cbor-x';
 * new UnixSocketServer({ path, codec: { name: 'cbor', encode, decode } });
 */
export interface Codec {
  /** What both ends call it. */
  readonly name: string;
  /** The bytes of a payload, not changed afterwards. Undefined sends this one as JSON; what it throws fails the call. */
  encode(value: unknown): Uint8Array | undefined;
  /** The payload of bytes that a peer sent, whatever they are. What it throws ends that peer's connection. */
  decode(bytes: Buffer): unknown;
}

/** MessagePack, limited to what JSON knows and to binary, which stays as it is. */
export class MsgpackCodec implements Codec {
  readonly name = 'msgpack';

  /** @param isExact whether integers beyond 2^53 are BigInts */
  constructor(private readonly isExact: boolean) {}

  encode(value: unknown): Uint8Array | undefined {
    return packValue(value, this.isExact);
  }

  decode(bytes: Buffer): unknown {
    return unpackValue(bytes, this.isExact);
  }
}

/** What an end that has the codec lists among its capabilities. */
export function codecCapability(codec: Codec): string {
  return `codec:${codec.name}`;
}
