import { EncodeError } from '../errors/protocol.errors.js';
import {
  BYTES_KEY,
  isBinary,
  isBoxed,
  MAX_VALUE_DEPTH,
  reservedKey,
  toBuffer,
  tooDeep,
} from './value-rules.js';

/** Thrown at a value that MessagePack cannot carry as JSON does. */
class NotPackable extends Error {}

const LARGEST_FIXMAP = 15;
const SMALLEST_ROOM_BYTES = 512;
const SMALLEST_INT64 = -(2n ** 63n);
const LARGEST_UINT64 = 2n ** 64n - 1n;

/**
 * `value` in MessagePack, meaning exactly what its JSON text would mean, but for binary, which stays as it is.
 * Undefined if only JSON can carry it: a string with an unpaired surrogate, a BigInt of more than 64 bits.
 * @throws EncodeError for what JSON refuses too
 */
export function packValue(value: unknown, isExact: boolean): Buffer | undefined {
  const writer = new Writer(isExact);
  try {
    writer.value(prepare(value, ''), MAX_VALUE_DEPTH);
    return writer.take();
  } catch (error) {
    if (error instanceof NotPackable) return undefined;
    throw error;
  }
}

/** The bytes before `length` bytes of binary. */
export function binaryHead(length: number): Buffer {
  const writer = new Writer(false);
  writer.binaryHead(length);
  return writer.take();
}

/** As `JSON.stringify` sees a value before it writes it: what `toJSON()` gives, and no wrapper objects. */
function prepare(value: unknown, key: string): unknown {
  let plain = value;
  if ((typeof value === 'object' && value !== null) || typeof value === 'bigint') {
    const { toJSON } = value as { toJSON?: unknown };
    if (typeof toJSON === 'function' && !(typeof value === 'object' && isBinary(value)))
      plain = toJSON.call(value, key);
  }
  return typeof plain === 'object' && plain !== null && isBoxed(plain) ? plain.valueOf() : plain;
}

function isLeftOut(value: unknown): boolean {
  return value === undefined || typeof value === 'function' || typeof value === 'symbol';
}

class Writer {
  private bytes = Buffer.allocUnsafe(SMALLEST_ROOM_BYTES);
  private position = 0;

  constructor(private readonly isExact: boolean) {}

  take(): Buffer {
    return this.bytes.subarray(0, this.position);
  }

  /** @param value prepared already */
  value(value: unknown, levels: number): void {
    switch (typeof value) {
      case 'string':
        this.string(value);
        return;
      case 'number':
        this.number(value);
        return;
      case 'boolean':
        this.byte(value ? 0xc3 : 0xc2);
        return;
      case 'bigint':
        this.bigint(value);
        return;
      case 'object':
        if (value === null) this.byte(0xc0);
        else this.object(value, levels);
        return;
      case 'undefined':
      case 'function':
      case 'symbol':
        this.byte(0xc0);
    }
  }

  binaryHead(length: number): void {
    this.head(length, 0xc4, 0xc5, 0xc6);
  }

  private object(value: object, levels: number): void {
    if (levels === 0) throw tooDeep();
    if (isBinary(value)) this.binary(toBuffer(value));
    else if (Array.isArray(value)) this.array(value, levels - 1);
    else this.map(value as Record<string, unknown>, levels - 1);
  }

  private array(items: readonly unknown[], levels: number): void {
    const { length } = items;
    if (length < 16) this.byte(0x90 | length);
    else this.head(length, undefined, 0xdc, 0xdd);
    for (let i = 0; i < length; i++) this.value(prepare(items[i], String(i)), levels);
  }

  private map(record: Record<string, unknown>, levels: number): void {
    const keys = Object.keys(record);
    const headAt = this.position;
    // How many of them have a value is known at the end only.
    const isFix = keys.length <= LARGEST_FIXMAP;
    if (isFix) this.byte(0x80);
    else this.head(0x10000, undefined, undefined, 0xdf);
    let count = 0;
    for (const key of keys) {
      if (key === BYTES_KEY) throw reservedKey();
      // A function with a toJSON() of its own is left out too.
      const item = prepare(record[key], key);
      if (isLeftOut(item)) continue;
      this.string(key);
      this.value(item, levels);
      count++;
    }
    if (isFix) this.bytes[headAt] = 0x80 | count;
    else this.bytes.writeUInt32BE(count, headAt + 1);
  }

  private string(text: string): void {
    if (!isWellFormed(text)) throw new NotPackable();
    const length = Buffer.byteLength(text);
    if (length < 32) this.byte(0xa0 | length);
    else this.head(length, 0xd9, 0xda, 0xdb);
    this.reserve(length);
    this.position += this.bytes.write(text, this.position, length === text.length ? 'latin1' : 'utf8');
  }

  private number(value: number): void {
    if (!Number.isFinite(value)) {
      this.byte(0xc0);
    } else if ((value | 0) === value) {
      // Also of -0, which JSON writes as 0.
      this.int32(value | 0);
    } else {
      this.byte(0xcb);
      this.reserve(8);
      this.position = this.bytes.writeDoubleBE(value, this.position);
    }
  }

  private int32(value: number): void {
    if (value >= -32 && value < 128) {
      this.byte(value & 0xff);
    } else {
      this.byte(0xd2);
      this.reserve(4);
      this.position = this.bytes.writeInt32BE(value, this.position);
    }
  }

  private bigint(value: bigint): void {
    // The words in which JSON.stringify refuses one.
    if (!this.isExact) throw new EncodeError('Do not know how to serialize a BigInt');
    if (value < SMALLEST_INT64 || value > LARGEST_UINT64) throw new NotPackable();
    this.byte(value < 0n ? 0xd3 : 0xcf);
    this.reserve(8);
    this.position = this.bytes.writeBigUInt64BE(BigInt.asUintN(64, value), this.position);
  }

  private binary(bytes: Buffer): void {
    this.binaryHead(bytes.length);
    this.reserve(bytes.length);
    this.position += bytes.copy(this.bytes, this.position);
  }

  /** The marker for a length of one, two or four bytes, and the length. */
  private head(length: number, one: number | undefined, two: number | undefined, four: number): void {
    this.reserve(5);
    if (one !== undefined && length < 0x100) {
      this.byte(one);
      this.byte(length);
    } else if (two !== undefined && length < 0x10000) {
      this.byte(two);
      this.position = this.bytes.writeUInt16BE(length, this.position);
    } else {
      this.byte(four);
      this.position = this.bytes.writeUInt32BE(length, this.position);
    }
  }

  private byte(value: number): void {
    this.reserve(1);
    this.bytes[this.position++] = value;
  }

  private reserve(more: number): void {
    const needed = this.position + more;
    if (needed <= this.bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, this.bytes.length * 2));
    this.bytes.copy(larger, 0, 0, this.position);
    this.bytes = larger;
  }
}

/** Of ES2024, and in every Node that this package runs on. */
function isWellFormed(text: string): boolean {
  return (text as unknown as { isWellFormed(): boolean }).isWellFormed();
}
