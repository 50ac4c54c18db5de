import fc from 'fast-check';
import { EncodeError, MalformedFrameError } from '../../../lib/errors/protocol.errors.js';
import { decodeJson, encodeJson } from '../../../lib/protocol/json-codec.js';
import { MAX_DEPTH, MAX_VALUE_DEPTH } from '../../../lib/protocol/value-rules.js';
import { unpackValue } from '../../../lib/protocol/msgpack-reader.js';
import { packValue } from '../../../lib/protocol/msgpack-writer.js';
import { caught } from '../../support/caught.js';

const roundTrip = (value: unknown, isExact = false): unknown =>
  unpackValue(packValue(value, isExact) as Buffer, isExact);

class Money {
  constructor(readonly cents: number) {}

  toJSON(key: string): unknown {
    return { key, cents: this.cents };
  }
}

const anything = fc.anything({
  withBoxedValues: true,
  withDate: true,
  withMap: true,
  withSet: true,
  withNullPrototype: true,
  withObjectString: true,
  withTypedArray: true,
  withSparseArray: true,
  withUnicodeString: true,
} as fc.ObjectConstraints);

describe('MessagePack', () => {
  it('gives what JSON gives, whatever the value', () => {
    fc.assert(
      fc.property(fc.oneof(anything, fc.json({ noUnicodeString: false } as object)), (value) => {
        let text: string;
        try {
          text = encodeJson(value);
        } catch {
          expect(() => packValue(value, false)).toThrow(Error);
          return;
        }
        const packed = packValue(value, false);
        // Strings that UTF-8 cannot carry go as JSON.
        if (packed === undefined) expect(text).toMatch(/\\ud[89a-f]/);
        else expect(unpackValue(packed, false)).toStrictEqual(decodeJson(text));
      }),
      { numRuns: 500 },
    );
  });

  it.each<[string, unknown]>([
    ['what toJSON() gives, by its key', { price: new Money(5), list: [new Money(6)], at: new Date(0) }],
    ['wrappers and numbers that JSON does not know', [Object(1), Object('s'), NaN, -0, -Infinity, 1e308]],
    [
      'undefined, functions and symbols',
      { a: undefined, b: () => 1, c: Symbol('s'), d: [undefined, () => 1] },
    ],
    ['keys of all kinds', JSON.parse('{"__proto__":{"x":1},"constructor":2,"":3,"汉":4}')],
    ['binary of all kinds', { b: Buffer.from('ab'), f: new Float32Array([1.5]), a: new ArrayBuffer(3) }],
    [
      'large objects',
      Object.fromEntries(Array.from({ length: 70_000 }, (_, i) => [`k${i}`, i % 3 ? i : undefined])),
    ],
    [
      'large lists and texts',
      [Array.from({ length: 70_000 }, (_, i) => i - 100), 'x'.repeat(70_000), 'é'.repeat(200)],
    ],
    [
      'integers of all sizes',
      [0, 127, 128, -32, -33, 255, 65_536, 2 ** 31, -(2 ** 31), 2 ** 40, Number.MAX_SAFE_INTEGER],
    ],
    ['nothing', undefined],
  ])('carries %s as JSON does', (_, value) => {
    expect(roundTrip(value)).toStrictEqual(decodeJson(encodeJson(value)));
  });

  it('writes the bytes of the specification', () => {
    const bytes = packValue({ a: [null, true, -1, 1.5, 'é', Buffer.from([9])] }, false);
    expect(bytes?.toString('hex')).toBe('81a16196c0c3ffcb3ff8000000000000a2c3a9c40109');
  });

  it('refuses what JSON refuses, in the same words', () => {
    const circular: unknown[] = [];
    circular.push(circular);
    for (const value of [circular, { __bytes__: 'x' }, { a: 1n }]) {
      const error = caught(() => encodeJson([value, Buffer.alloc(1)]));
      expect(error).toBeInstanceOf(EncodeError);
      expect(caught(() => packValue([value, Buffer.alloc(1)], false))).toEqual(error);
    }
  });

  it('is as deep as JSON is', () => {
    let [deep, wire] = [0 as unknown, Buffer.from([0])];
    for (let i = 0; i < MAX_VALUE_DEPTH; i++) deep = [deep];
    expect(roundTrip(deep)).toStrictEqual(deep);
    expect(() => packValue([deep], false)).toThrow(EncodeError);
    wire = Buffer.concat([Buffer.alloc(MAX_DEPTH + 1, 0x91), wire]);
    expect(() => unpackValue(wire, false)).toThrow(MalformedFrameError);
    expect(() => unpackValue(Buffer.alloc(5_000_000, 0x91), false)).toThrow(MalformedFrameError);
  });

  it.each([
    ['nothing', ''],
    ['a list of four thousand million', 'ddffffffff'],
    ['a map of four thousand million', 'dfffffffff'],
    ['binary of 4 GiB', 'c6ffffffff00'],
    ['a text that ends too early', 'd905616161'],
    ['the unused type', 'c1'],
    ['an extension', 'c70501aabbccddee'],
    ['a timestamp', 'd6ff00000000'],
    ['a regular expression as others write it', 'c70378a16100'],
    ['a key that is a number', '810101'],
    ['a key that is a list', '819001'],
    ['a text that is not UTF-8', 'a1ff'],
    ['two values', 'c0c0'],
    ['a number cut short', 'cb3ff800'],
  ])('refuses %s', (_, hex) => {
    expect(() => unpackValue(Buffer.from(hex, 'hex'), false)).toThrow(MalformedFrameError);
  });

  it('never gives anything but a value or that error, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          unpackValue(Buffer.from(bytes), true);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedFrameError);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it('reads what others write: short integers, single floats, and numbers that JSON does not know', () => {
    const bytes = Buffer.from(
      '98d0ffd1ff00cc80cd0100ce00010000ca3fc00000ca7f800000cf0000000000000005',
      'hex',
    );
    expect(unpackValue(bytes, false)).toEqual([-1, -256, 128, 256, 65_536, 1.5, null, 5]);
  });

  it('keeps integers of 64 bits where they are asked for, and leaves larger ones to JSON', () => {
    const values = [2n ** 53n, -(2n ** 63n), 2n ** 64n - 1n, 5n, -5n];
    expect(roundTrip(values, true)).toEqual([2n ** 53n, -(2n ** 63n), 2n ** 64n - 1n, 5, -5]);
    expect(packValue([2n ** 64n], true)).toBeUndefined();
    expect(packValue(['\ud83d'], true)).toBeUndefined();
    expect(unpackValue(Buffer.from('cfffffffffffffffff', 'hex'), false)).toBe(2 ** 64);
  });
});
