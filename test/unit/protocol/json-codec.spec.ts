import fc from 'fast-check';
import { EncodeError, MalformedFrameError } from '../../../lib/errors/protocol.errors.js';
import { decodeJson, encodeJson } from '../../../lib/protocol/json-codec.js';
import { MAX_DEPTH, MAX_VALUE_DEPTH } from '../../../lib/protocol/value-rules.js';
import { caught } from '../../support/caught.js';

const bytes = Buffer.from([0x00, 0xff, 0x61]);
const TAGGED = '{"__bytes__":"00ff61"}';

/** What a value should come to, by the rule this package promises for all but binary. */
function viaJson(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value) ?? 'null');
}

function arrays(levels: number): unknown {
  let value: unknown = [];
  for (let i = 1; i < levels; i++) value = [value];
  return value;
}

function objects(levels: number): unknown {
  let value: unknown = {};
  for (let i = 1; i < levels; i++) value = { a: value };
  return value;
}

class SelfReplacing {
  constructor(readonly bytes: Buffer) {}

  toJSON(): this {
    return this;
  }
}

/** The text of so many levels around `core`. */
function nested(open: string, levels: number, core: string, close: string): string {
  return open.repeat(levels) + core + close.repeat(levels);
}

describe('encodeJson', () => {
  it.each<[string, unknown, string]>([
    ['a Buffer', bytes, TAGGED],
    ['an empty Buffer', Buffer.alloc(0), '{"__bytes__":""}'],
    ['a Uint8Array', new Uint8Array(bytes), TAGGED],
    [
      'a view into a larger ArrayBuffer',
      new Uint8Array(new Uint8Array([9, 0, 255, 97, 9]).buffer, 1, 3),
      TAGGED,
    ],
    ['an ArrayBuffer', new Uint8Array(bytes).buffer, TAGGED],
    ['a DataView', new DataView(new Uint8Array([9, 0, 255, 97]).buffer, 1), TAGGED],
    ['a Uint16Array', new Uint16Array(new Uint8Array([1, 2, 3, 4]).buffer), '{"__bytes__":"01020304"}'],
    ['a SharedArrayBuffer', new SharedArrayBuffer(2), '{"__bytes__":"0000"}'],
    ['in an object', { a: 1, b: bytes }, `{"a":1,"b":${TAGGED}}`],
    ['in an array', [1, [bytes]], `[1,[${TAGGED}]]`],
    [
      'behind other objects',
      { a: { x: {} }, b: [{}, { c: bytes }] },
      `{"a":{"x":{}},"b":[{},{"c":${TAGGED}}]}`,
    ],
    ['in what toJSON() gives', { toJSON: () => ({ inner: bytes }) }, `{"inner":${TAGGED}}`],
    ['as what toJSON() gives', [{ toJSON: () => bytes }], `[${TAGGED}]`],
    ['in what gives itself by toJSON()', [new SelfReplacing(bytes)], `[{"bytes":${TAGGED}}]`],
    ['below an inherited property of that name', Object.create({ bytes }), '{}'],
  ])('tags binary: %s', (_, value, json) => {
    expect(encodeJson(value)).toBe(json);
  });

  it('changes nothing of the value it is given', () => {
    const value = { a: [{ b: bytes }], c: 1 };
    const copy = structuredClone(value);
    encodeJson(value);
    expect(value.a[0]?.b).toBe(bytes);
    expect(structuredClone(value)).toEqual(copy);
  });

  it.each<[string, unknown]>([
    ['undefined', undefined],
    ['a function', () => 1],
    ['a symbol', Symbol('s')],
    ['NaN', NaN],
    ['infinity', -Infinity],
  ])('writes null for %s', (_, value) => {
    expect(encodeJson(value)).toBe('null');
  });

  const circular: Record<string, unknown> = { a: 1 };
  circular['self'] = { circular };
  const endless = { toJSON: (): unknown => ({ endless }) };

  it.each<[string, unknown, RegExp]>([
    ['circular', circular, /circular/],
    ['circular beside binary', { bytes, circular }, /circular/],
    ['endless by toJSON()', endless, /circular/],
    ['a BigInt', { n: 1n }, /BigInt/],
    ['a BigInt beside binary', { bytes, n: 1n }, /BigInt/],
    ['a boxed BigInt beside binary', { bytes, n: Object(1n) }, /BigInt/],
    ['an own key "__bytes__"', { a: [{ __bytes__: '6162' }] }, /"__bytes__" is reserved/],
    ['an own key "__bytes__" beside binary', { bytes, a: { __bytes__: 1 } }, /"__bytes__" is reserved/],
    [
      'an own key "__bytes__" in what toJSON() gives',
      { toJSON: () => ({ __bytes__: 1 }) },
      /"__bytes__" is reserved/,
    ],
    [
      'a getter that throws',
      Object.defineProperty({}, 'x', { enumerable: true, get: thrower }),
      /from the getter/,
    ],
    ['a toJSON() that throws', { toJSON: thrower }, /from the getter/],
  ])('refuses what JSON cannot carry: %s', (_, value, reason) => {
    const error = caught(() => encodeJson(value));
    expect(error).toBeInstanceOf(EncodeError);
    expect(error).toMatchObject({ message: expect.stringMatching(reason), delivery: 'notSent' });
  });

  it.each([
    ['arrays', arrays],
    ['objects', objects],
    ['arrays beside binary', (levels: number) => [bytes, arrays(levels - 1)]],
    ['objects by toJSON()', (levels: number) => ({ toJSON: () => objects(levels) })],
  ])('takes %s of %# exactly as deep as may be sent, and no deeper', (_, make) => {
    expect(() => encodeJson(make(MAX_VALUE_DEPTH))).not.toThrow();
    expect(() => encodeJson(make(MAX_VALUE_DEPTH + 1))).toThrow(EncodeError);
  });

  it('sends nothing so deep that its reader would refuse the message around it', () => {
    // The deepest place that a caller's value has in a message: a list of details in the payload of an error.
    const message = `{"error_detail":{"payload":{"details":[${encodeJson(arrays(MAX_VALUE_DEPTH))}]}}}`;
    expect(() => decodeJson(message)).not.toThrow();
  });

  it('keeps a key "__proto__" as a key', () => {
    const value: unknown = JSON.parse('{"__proto__":{"x":1},"a":{"__proto__":2}}');
    expect(encodeJson(value)).toBe('{"__proto__":{"x":1},"a":{"__proto__":2}}');
    expect(encodeJson([value, bytes])).toBe(`[{"__proto__":{"x":1},"a":{"__proto__":2}},${TAGGED}]`);
  });

  it('escapes a lone surrogate, which has no UTF-8 form', () => {
    expect(encodeJson('\ud83d')).toBe('"\\ud83d"');
    expect(encodeJson(['\ude00', bytes])).toBe(`["\\ude00",${TAGGED}]`);
  });
});

describe('decodeJson', () => {
  it.each<[string, string, unknown]>([
    ['at any depth', `{"a":[{"b":${TAGGED}}]}`, { a: [{ b: bytes }] }],
    ['with other keys, which are dropped', '{"a":{"x":1,"__bytes__":"00ff61","y":[]}}', { a: bytes }],
    ['in capitals', '[{"__bytes__":"00FF61"}]', [bytes]],
    ['with blanks between pairs', '[{"__bytes__":" 00 ff\\t61\\n"}]', [bytes]],
    ['empty', '[{"__bytes__":""}]', [Buffer.alloc(0)]],
    ['with the key partly escaped', '[{"\\u005f_bytes__":"00ff61"}]', [bytes]],
    ['with a letter of the key escaped', '[{"__b\\u0079tes__":"00ff61"}]', [bytes]],
    ['with the key escaped in capitals', '[{"\\u005F\\u005Fbytes\\u005f_":"00ff61"}]', [bytes]],
    ['twice in one object', `{"a":${TAGGED},"b":${TAGGED}}`, { a: bytes, b: bytes }],
    [
      'inside a tag, of which only the outer counts',
      '[{"__bytes__":"00ff61","x":{"__bytes__":"zz"}}]',
      [bytes],
    ],
    ['as the whole', TAGGED, bytes],
  ])('turns a tag into a Buffer: %s', (_, text, value) => {
    expect(decodeJson(text)).toStrictEqual(value);
  });

  it.each([
    ['one digit', '"0"'],
    ['no digits', '"zz"'],
    ['a blank within a pair', '"0 0f f"'],
    ['a prefix', '"0x00"'],
    ['wide characters whose low bytes are digits', '"\u0161\u0162"'],
    ['a number', '5'],
    ['null', 'null'],
    ['an object', '{}'],
    ['a list', '["00"]'],
  ])('refuses a tag with %s', (_, hex) => {
    expect(() => decodeJson(`{"a":[{"__bytes__":${hex}}]}`)).toThrow(MalformedFrameError);
  });

  it('leaves the name alone where it is no key', () => {
    expect(decodeJson('{"a":"__bytes__","b":["__bytes__"],"__bytes":"6162"}')).toEqual({
      a: '__bytes__',
      b: ['__bytes__'],
      __bytes: '6162',
    });
  });

  it.each([
    ['an object with the key', '{"a":{"__proto__":{"polluted":1}},"__proto__":{"polluted":1}}'],
    ['beside binary', `{"a":{"__proto__":{"polluted":1}},"__proto__":{"polluted":1},"b":${TAGGED}}`],
    ['around binary', `{"a":{"__proto__":{"polluted":1}},"__proto__":{"polluted":1,"b":${TAGGED}}}`],
  ])('keeps "__proto__" an own key that changes no prototype: %s', (_, text) => {
    const value = decodeJson(text) as Record<string, Record<string, unknown>>;
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(Object.getPrototypeOf(value['a'])).toBe(Object.prototype);
    expect(value['polluted']).toBeUndefined();
    expect(Object.keys(value)).toContain('__proto__');
    expect(Object.getOwnPropertyDescriptor(value, '__proto__')?.value).toMatchObject({ polluted: 1 });
  });

  it('reads a tag that is the value of a key "__proto__"', () => {
    const value = decodeJson(`{"a":{"__proto__":${TAGGED}}}`) as { a: object };
    expect(Object.getOwnPropertyDescriptor(value.a, '__proto__')?.value).toEqual(bytes);
    expect(Object.getPrototypeOf(value.a)).toBe(Object.prototype);
  });

  it.each([
    ['a deep list', (levels: number) => nested('[', levels, '', ']')],
    ['a deep object', (levels: number) => nested('{"a":', levels - 1, '{}', '}')],
    ['a deep list with a short sibling', (levels: number) => `[1,${nested('[', levels - 1, '', ']')}]`],
  ])('takes %s of %# exactly the depth limit, and no deeper', (_, make) => {
    expect(() => decodeJson(make(MAX_DEPTH))).not.toThrow();
    expect(() => decodeJson(make(MAX_DEPTH + 1))).toThrow(MalformedFrameError);
  });

  it.each([
    ['lists', nested('[', 100_000, '', ']')],
    ['objects', nested('{"a":', 100_000, '1', '}')],
    ['lists that do not end', '['.repeat(100_000)],
    ['objects that do not end', '{"a":'.repeat(100_000)],
    ['a tag', nested('[', 100_000, TAGGED, ']')],
  ])('refuses 100,000 nested %s without a stack overflow', (_, text) => {
    expect(() => decodeJson(text)).toThrow(MalformedFrameError);
  });

  it.each<[string, unknown]>([
    ['{"a":NaN}', { a: null }],
    ['[Infinity,-Infinity,NaN]', [null, null, null]],
    ['NaN', null],
    ['{"a":"NaN, -Infinity","b":NaN}', { a: 'NaN, -Infinity', b: null }],
    ['{"NaN":NaN}', { NaN: null }],
    ['["a \\" NaN","\\\\",NaN,"\\\\\\" NaN \\u0041"]', ['a " NaN', '\\', null, '\\" NaN A']],
    ['[NaN,{"__bytes__":"00ff61"}]', [null, bytes]],
  ])('reads bare NaN and infinities as null, and leaves them alone in strings: %s', (text, value) => {
    expect(decodeJson(text)).toEqual(value);
  });

  it.each([
    '[-NaN]',
    '[NaN1]',
    '[xNaN]',
    '["NaN]',
    '["NaN" NaN]',
    '[+Infinity]',
    '{NaN:1}',
    "['NaN']",
    '["\\',
    'NaN"',
  ])('refuses what is no JSON even so: %s', (text) => {
    expect(() => decodeJson(text)).toThrow(MalformedFrameError);
  });

  it.each([
    ['a string of escapes that does not end', `[NaN,"${'\\"'.repeat(1_000_000)}`],
    ['a string that ends in the middle of an escape', `[NaN,"${'\\"'.repeat(1_000_000)}\\`],
    ['a million quotes', `[NaN,${'"'.repeat(1_000_001)}`],
    ['a million bare words', `[${'NaN '.repeat(1_000_000)}`],
  ])('refuses hostile text in linear time: %s', (_, text) => {
    // A quadratic search takes hours for this; the limit of the test itself is what would tell.
    expect(() => decodeJson(text)).toThrow(MalformedFrameError);
  });

  it('reads a long text of escapes beside a bare NaN', () => {
    expect(decodeJson(`[NaN,"${'\\n'.repeat(3_000_000)}"]`)).toEqual([null, '\n'.repeat(3_000_000)]);
  });

  it.each<[string, string, unknown]>([
    ['a byte-order mark', '\ufeff{"a":1}', { a: 1 }],
    ['blanks around', ' \r\n\t{"a":1}\n ', { a: 1 }],
    ['lone surrogates', '["\\ud83d","\\ude00\\ud83d"]', ['\ud83d', '\ude00\ud83d']],
    ['repeated keys, of which the last counts', '{"a":1,"a":2}', { a: 2 }],
    ['integers above 2^53, rounded', '9007199254740993', 9007199254740992],
    ['a number too large, as infinity', '[1e400]', [Infinity]],
    ['all escapes', '"\\u0000\\b\\f\\n\\r\\t\\"\\\\\\/\\u2028"', '\u0000\b\f\n\r\t"\\/\u2028'],
  ])('takes %s', (_, text, value) => {
    expect(decodeJson(text)).toStrictEqual(value);
  });

  it.each([
    '',
    ' ',
    '\ufeff',
    '{',
    '{"a":1}x',
    "{'a':1}",
    '"a\nb"',
    '[1,]',
    '\ufeff\ufeff{}',
    'undefined',
    '"\\ud8"',
  ])('refuses %j, which is no JSON', (text) => {
    const error = caught(() => decodeJson(text));
    expect(error).toBeInstanceOf(MalformedFrameError);
    expect(error).toMatchObject({ reason: 'not JSON' });
  });
});

describe('encodeJson and decodeJson', () => {
  const anything = fc.anything({
    maxDepth: 4,
    withBoxedValues: true,
    withDate: true,
    withMap: true,
    withNullPrototype: true,
    withSet: true,
    withSparseArray: true,
    stringUnit: 'binary',
  });

  it('agree with JSON.stringify on everything but binary', () => {
    fc.assert(
      fc.property(anything, (value) => {
        expect(decodeJson(encodeJson(value))).toStrictEqual(viaJson(value));
      }),
      { numRuns: 500 },
    );
  });

  it('do so beside binary too, where the careful way is taken', () => {
    fc.assert(
      fc.property(anything, fc.uint8Array(), (value, array) => {
        const [copy, binary] = decodeJson(encodeJson([value, array])) as [unknown, Buffer];
        expect(copy).toStrictEqual((viaJson([value]) as [unknown])[0]);
        expect(binary).toStrictEqual(Buffer.from(array));
      }),
      { numRuns: 500 },
    );
  });

  it('carry binary at any place', () => {
    const { value: withBinary } = fc.letrec<{ value: unknown }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 5, depthSize: 'medium' },
        fc.uint8Array({ maxLength: 8 }).map((array) => Buffer.from(array)),
        fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null)),
        fc.array(tie('value'), { maxLength: 4 }),
        fc.dictionary(fc.string({ maxLength: 4 }), tie('value'), { maxKeys: 4, noNullPrototype: true }),
      ),
    }));
    fc.assert(
      fc.property(withBinary, (value) => {
        expect(decodeJson(encodeJson(value))).toStrictEqual(value);
      }),
      { numRuns: 500 },
    );
  });
});

function thrower(): never {
  throw new Error('from the getter');
}
