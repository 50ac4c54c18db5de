import { isUtf8 } from 'node:buffer';
import { MalformedFrameError } from '../errors/protocol.errors.js';
import { MAX_DEPTH } from './value-rules.js';
import { setOwn } from './json-text.js';

/** Binary in larger payloads is not copied: what it keeps alive is the frame it is the most of. */
const LARGEST_COPIED_BYTES = 64 * 1024;

/**
 * The value of MessagePack bytes, limited to what JSON knows and binary: no extension types, string keys only. No room
 * is made for what is only announced.
 * @param isExact whether integers beyond 2^53 become BigInts
 * @throws MalformedFrameError
 */
export function unpackValue(bytes: Buffer, isExact: boolean): unknown {
  const reader = new Reader(bytes, isExact);
  const value = reader.value(MAX_DEPTH);
  if (!reader.isAtEnd) throw new MalformedFrameError('bytes behind its MessagePack value');
  return value;
}

class Reader {
  private position = 0;

  constructor(
    private readonly bytes: Buffer,
    private readonly isExact: boolean,
  ) {}

  get isAtEnd(): boolean {
    return this.position === this.bytes.length;
  }

  value(levels: number): unknown {
    const token = this.uint(1);
    if (token < 0x80) return token;
    if (token < 0x90) return this.map(token & 0x0f, levels);
    if (token < 0xa0) return this.array(token & 0x0f, levels);
    if (token < 0xc0) return this.string(token & 0x1f);
    if (token >= 0xe0) return token - 0x100;
    switch (token) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.binary(this.uint(1 << (token - 0xc4)));
      case 0xca:
        return finite(this.bytes.readFloatBE(this.skip(4)));
      case 0xcb:
        return finite(this.bytes.readDoubleBE(this.skip(8)));
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.uint(1 << (token - 0xcc));
      case 0xcf:
        return this.integer(this.bytes.readBigUInt64BE(this.skip(8)));
      case 0xd0:
        return this.bytes.readInt8(this.skip(1));
      case 0xd1:
        return this.bytes.readInt16BE(this.skip(2));
      case 0xd2:
        return this.bytes.readInt32BE(this.skip(4));
      case 0xd3:
        return this.integer(this.bytes.readBigInt64BE(this.skip(8)));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.string(this.uint(1 << (token - 0xd9)));
      case 0xdc:
      case 0xdd:
        return this.array(this.uint(2 << (token - 0xdc)), levels);
      case 0xde:
      case 0xdf:
        return this.map(this.uint(2 << (token - 0xde)), levels);
      default:
        throw new MalformedFrameError(`MessagePack of type 0x${token.toString(16)}`);
    }
  }

  private array(length: number, levels: number): unknown[] {
    if (levels === 0) throw tooDeep();
    const items: unknown[] = [];
    for (let i = 0; i < length; i++) items.push(this.value(levels - 1));
    return items;
  }

  private map(length: number, levels: number): Record<string, unknown> {
    if (levels === 0) throw tooDeep();
    const record: Record<string, unknown> = {};
    for (let i = 0; i < length; i++) {
      const key = this.value(0);
      if (typeof key !== 'string') throw new MalformedFrameError('a MessagePack key that is no string');
      const value = this.value(levels - 1);
      if (key === '__proto__') setOwn(record, key, value);
      else record[key] = value;
    }
    return record;
  }

  private string(length: number): string {
    const start = this.skip(length);
    const text = this.bytes.toString('utf8', start, this.position);
    if (text.includes('\ufffd') && !isUtf8(this.bytes.subarray(start, this.position)))
      throw new MalformedFrameError('not UTF-8');
    return text;
  }

  private binary(length: number): Buffer {
    const start = this.skip(length);
    const part = this.bytes.subarray(start, this.position);
    return this.bytes.length > LARGEST_COPIED_BYTES ? part : Buffer.from(part);
  }

  private integer(value: bigint): number | bigint {
    const number = Number(value);
    return Number.isSafeInteger(number) || !this.isExact ? number : value;
  }

  private uint(size: number): number {
    return this.bytes.readUIntBE(this.skip(size), size);
  }

  /** Steps over so many bytes, which have to be there. Returns where they begin. */
  private skip(length: number): number {
    const start = this.position;
    if (length > this.bytes.length - start) throw new MalformedFrameError('MessagePack that ends too early');
    this.position += length;
    return start;
  }
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

function tooDeep(): MalformedFrameError {
  return new MalformedFrameError(`nested deeper than ${MAX_DEPTH} levels`);
}
