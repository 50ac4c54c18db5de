import { UnixSocketError } from '../errors/unix-socket.error.js';
import { MalformedFrameError } from '../errors/protocol.errors.js';
import { MsgpackCodec, type Codec } from './codec.js';
import {
  asEncodeError,
  decodeJson,
  encodeJson,
  encodePlain,
  encodeTagged,
  type JsonRules,
} from './json-codec.js';
import { isBinary, MAX_VALUE_DEPTH, toBuffer } from './value-rules.js';
import { encodeLargeText, LARGE_STRING_LENGTH, type LargeText } from './large-text.js';
import { binaryHead } from './msgpack-writer.js';
import { Survey } from './survey.js';

/** Data on its way out, encoded: JSON, in bytes if it is large, or what a codec made of it. */
export type Payload = string | LargeText | PackedPayload;

/** The bytes of a payload, with the way back to JSON for a peer that does not have their codec. */
export class PackedPayload {
  private text: string | undefined;

  /** @param head bytes that stand before `bytes`, one per character */
  constructor(
    readonly codec: Codec,
    readonly head: string,
    readonly bytes: Buffer,
    private readonly rules: JsonRules,
  ) {}

  get length(): number {
    return this.head.length + this.bytes.length;
  }

  /** @throws EncodeError */
  toText(): string {
    this.text ??= encodeJson(
      this.codec.decode(Buffer.concat([Buffer.from(this.head, 'latin1'), this.bytes])),
      MAX_VALUE_DEPTH,
      this.rules,
    );
    return this.text;
  }
}

/** Size of the data, which is about what it takes on the wire. */
export function payloadBytes(payload: Payload): number {
  return typeof payload === 'string' ? Buffer.byteLength(payload) : payload.length;
}

/** `auto` is MessagePack for binary and long strings, JSON for all else; `msgpack` and codecs of one's own are for all. */
export type CodecChoice = 'auto' | 'json' | 'msgpack' | Codec;

/** A string of this length is written and read as MessagePack several times as fast as JSON, which looks at each character. */
const LONG_STRING_LENGTH = 4 * 1024;
/** Beside so many other values; with more of them JSON is faster. */
const FEW_VALUES = 64;

/** Larger binary is not copied on its way out. */
const LARGEST_COPIED_BYTES = 64 * 1024;

/** Turns values into payloads and back, as the options of one end say. */
export class PayloadCodec {
  /** Undefined if there is only JSON. */
  readonly codec: Codec | undefined;
  readonly rules: JsonRules;
  private readonly isForAll: boolean;

  constructor(choice: CodecChoice, isExact: boolean) {
    this.rules = { hasTags: true, isExact };
    this.isForAll = choice !== 'auto';
    if (choice === 'auto' || choice === 'msgpack') this.codec = new MsgpackCodec(isExact);
    else if (choice !== 'json') this.codec = choice;
  }

  /** As JSON, for any peer. @throws EncodeError */
  encodeText(value: unknown): string | LargeText {
    try {
      const survey = new Survey(true);
      return survey.holdsBinary(value, MAX_VALUE_DEPTH)
        ? encodeTagged(value, MAX_VALUE_DEPTH, this.rules)
        : this.write(value, survey);
    } catch (error) {
      throw asEncodeError(error);
    }
  }

  /**
   * For peers that are not known to have the codec, of which some may: binary is worth it.
   * @throws EncodeError
   */
  encode(value: unknown): Payload {
    return this.encodeAs(value, false);
  }

  /** For a peer that has the codec. @throws EncodeError */
  encodeForOwn(value: unknown): Payload {
    return this.encodeAs(value, !this.rules.isExact);
  }

  decodeText(text: string): unknown {
    return decodeJson(text, this.rules);
  }

  /** @throws MalformedFrameError */
  unpack(bytes: Buffer): unknown {
    const { codec } = this;
    if (codec === undefined) throw new MalformedFrameError('a codec that was not agreed on');
    // Room in which a read has put several frames is used again, and who knows what a codec keeps.
    const mayBeLent = bytes.length <= LARGEST_COPIED_BYTES && !(codec instanceof MsgpackCodec);
    try {
      return codec.decode(mayBeLent ? Buffer.from(bytes) : bytes);
    } catch (error) {
      if (error instanceof UnixSocketError) throw error;
      throw new MalformedFrameError(`not ${codec.name}`, { cause: error });
    }
  }

  private encodeAs(value: unknown, packsLongStrings: boolean): Payload {
    try {
      if (this.isForAll) return this.pack(value) ?? this.encodeText(value);
      const survey = new Survey(true);
      if (survey.holdsBinary(value, MAX_VALUE_DEPTH))
        return this.pack(value) ?? encodeTagged(value, MAX_VALUE_DEPTH, this.rules);
      const { longestLength, valueCount } = survey;
      const isWorthPacking =
        packsLongStrings && longestLength >= LONG_STRING_LENGTH && valueCount <= FEW_VALUES;
      return (isWorthPacking ? this.pack(value) : undefined) ?? this.write(value, survey);
    } catch (error) {
      throw asEncodeError(error);
    }
  }

  private write(value: unknown, { longestLength }: Survey): string | LargeText {
    const { rules } = this;
    // Exact integers are put into the text afterwards.
    return longestLength >= LARGE_STRING_LENGTH && !rules.isExact
      ? encodeLargeText(value)
      : encodePlain(value, MAX_VALUE_DEPTH, rules);
  }

  private pack(value: unknown): PackedPayload | undefined {
    const { codec, rules } = this;
    if (codec === undefined) return undefined;
    if (codec instanceof MsgpackCodec && typeof value === 'object' && value !== null && isBinary(value)) {
      const bytes = toBuffer(value);
      if (bytes.length > LARGEST_COPIED_BYTES) {
        return new PackedPayload(codec, binaryHead(bytes.length).toString('latin1'), bytes, rules);
      }
    }
    const bytes = codec.encode(value);
    return bytes === undefined ? undefined : new PackedPayload(codec, '', toBuffer(bytes), rules);
  }
}
