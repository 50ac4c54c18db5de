import fc from 'fast-check';
import { EncodeError, MalformedFrameError } from '../../../lib/errors/protocol.errors.js';
import { decodeJson, encodeJson, type JsonRules } from '../../../lib/protocol/json-codec.js';
import { MAX_VALUE_DEPTH } from '../../../lib/protocol/value-rules.js';
import { caught } from '../../support/caught.js';
import { recordedFrames } from '../../support/fixtures.js';

const EXACT: JsonRules = { hasTags: true, isExact: true };
const encode = (value: unknown): string => encodeJson(value, MAX_VALUE_DEPTH, EXACT);
const decode = (text: string): unknown => decodeJson(text, EXACT);

describe('exact integers', () => {
  it.each([
    ['9007199254740992', 2n ** 53n],
    ['-9007199254740993', -(2n ** 53n) - 1n],
    ['9007199254740991', Number.MAX_SAFE_INTEGER],
    ['18446744073709551615', 2n ** 64n - 1n],
    ['1234567890123456789012345678901234567890', 1234567890123456789012345678901234567890n],
    [
      '{"a":[1, 9223372036854775807 ,{"b":-9223372036854775808}]}',
      { a: [1, 2n ** 63n - 1n, { b: -(2n ** 63n) }] },
    ],
    ['{"9007199254740993":"9007199254740993"}', { '9007199254740993': '9007199254740993' }],
    ['["\\"9007199254740993,",9007199254740993]', ['"9007199254740993,', 9007199254740993n]],
    ['9007199254740993.5', Number('9007199254740993.5')],
    ['0.90071992547409931', Number('0.90071992547409931')],
    ['90071992547409931e2', Number('90071992547409931e2')],
    ['1e-9007199254740993', 0],
    ['[9007199254740993,NaN]', [9007199254740993n, null]],
    ['{"__proto__":9007199254740993}', JSON.parse('{"__proto__":0}')],
    ['[9007199254740993,{"__bytes__":"00"}]', [9007199254740993n, Buffer.from([0])]],
  ])('are read from %s', (text, value) => {
    const read = decode(text);
    if (text.includes('__proto__'))
      expect(Object.entries(read as object)).toEqual([['__proto__', 9007199254740993n]]);
    else expect(read).toEqual(value);
  });

  it.each([
    '00000000000000000001',
    '--9007199254740993',
    '9007199254740993 9007199254740993',
    '{9007199254740993:1}',
    '[9007199254740993',
    '9007199254740993abc',
    'x9007199254740993',
    '+9007199254740993',
    '"a"9007199254740993',
    '9007199254740993"a"',
  ])('do not make JSON of what is none: %s', (text) => {
    const error = caught(() => decode(text));
    expect(error).toBeInstanceOf(MalformedFrameError);
    expect(() => decodeJson(text)).toThrow(MalformedFrameError);
    expect((error as Error).cause).toBeUndefined();
  });

  it('may have 4300 digits and no more, and cost no more than their length', () => {
    expect(decode('7'.repeat(4_300))).toBe(BigInt('7'.repeat(4_300)));
    expect(() => decode('7'.repeat(4_301))).toThrow(MalformedFrameError);
    expect(() => decode('7'.repeat(5_000_000))).toThrow(MalformedFrameError);
    expect(() => decode(`${'1'.repeat(16)}${' '.repeat(2_000_000)}x`)).toThrow(MalformedFrameError);
    expect(() => decode(`"${'1234567890123456,'.repeat(100_000)}`)).toThrow(MalformedFrameError);
  });

  it('are written with all their digits, at any depth, beside binary and what has a toJSON()', () => {
    const at = new Date(0);
    expect(encode({ a: [2n ** 64n, -5n], b: Buffer.from([1]), at, n: null, u: undefined, s: '5' })).toBe(
      '{"a":[18446744073709551616,-5],"b":{"__bytes__":"01"},"at":"1970-01-01T00:00:00.000Z","n":null,"s":"5"}',
    );
    expect(encode(7n)).toBe('7');
    expect(encode({ toJSON: () => 2n ** 60n })).toBe('1152921504606846976');
    expect(() => encodeJson(7n)).toThrow(EncodeError);
  });

  it('are written so although the application has taught JSON another way', () => {
    const prototype = BigInt.prototype as { toJSON?: () => string };
    prototype.toJSON = () => 'text';
    try {
      expect(encode([7n])).toBe('[7]');
      expect(encodeJson([7n])).toBe('["text"]');
    } finally {
      delete prototype.toJSON;
    }
  });

  it('come back as they went, whatever stands around them', () => {
    const value = fc.letrec((tie) => ({
      node: fc.oneof(
        fc.bigInt().map((n) => (n >= -(2n ** 53n) && n <= 2n ** 53n ? n + 2n ** 60n : n)),
        fc.string({ unit: 'binary' }),
        fc.integer(),
        fc.constantFrom('9007199254740993', '"', '\\'),
        fc.array(tie('node'), { maxLength: 4 }),
        fc.dictionary(fc.string(), tie('node'), { maxKeys: 4, noNullPrototype: true }),
      ),
    })).node;
    fc.assert(
      fc.property(value, (one) => {
        expect(decode(encode(one))).toEqual(one);
      }),
    );
  });

  it('keep the digits of the recorded frames', () => {
    for (const { name, bytes } of recordedFrames('v1').filter((row) => row.name.endsWith('bigint'))) {
      const text = bytes.toString('utf8', 4);
      expect({ name, text: encode(decode(text)) }).toEqual({
        name,
        text: text.replaceAll(': ', ':').replaceAll(', ', ','),
      });
    }
  });
});
