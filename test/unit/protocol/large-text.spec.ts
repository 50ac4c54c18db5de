import fc from 'fast-check';
import { FrameTooLargeError, MalformedFrameError } from '../../../lib/errors/protocol.errors.js';
import { encodeFrame, SplitFrame } from '../../../lib/protocol/frame-writer.js';
import { PLAIN_JSON } from '../../../lib/protocol/json-codec.js';
import {
  encodeLargeText,
  extractLargeStrings,
  LARGE_STRING_LENGTH,
  LargeText,
} from '../../../lib/protocol/large-text.js';
import { decodeValue } from '../../../lib/protocol/message-protocol.js';
import { PackedPayload, PayloadCodec } from '../../../lib/protocol/payload.js';
import { caught } from '../../support/caught.js';

const large = (unit: string, length = LARGE_STRING_LENGTH): string =>
  unit.repeat(Math.ceil(length / unit.length)).slice(0, length);

/** Values with large strings in them: of any characters, halves of characters too, among small things. */
const piece = fc.oneof(
  fc.string({ unit: 'binary', minLength: 1, maxLength: 40 }),
  fc.string({ unit: fc.nat({ max: 0xffff }).map((code) => String.fromCharCode(code)), minLength: 1 }),
  fc.constantFrom('plain text', '"', '\\', '\n', '\ud83d\ude00', '\ud83d', 'é', '\u2028'),
);
const largeString = fc
  .tuple(piece, fc.integer({ min: LARGE_STRING_LENGTH - 1, max: LARGE_STRING_LENGTH * 2 }))
  .map(([unit, length]) => large(unit, length));
const value = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    largeString,
    fc.constantFrom(null, true, 1.5, '', 'small'),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(fc.oneof(fc.string({ maxLength: 8 }), fc.constantFrom('7', '__proto__')), tie('value'), {
      maxKeys: 3,
    }),
  ),
})).value;

const decode = (text: string): unknown => {
  const bytes = Buffer.from(text);
  return decodeValue(bytes, 0, bytes.length);
};

describe('large strings', () => {
  it('are written as JSON.stringify writes them', () => {
    fc.assert(
      fc.property(value, (data) => {
        expect(encodeLargeText(data).toText()).toBe(JSON.stringify(data));
      }),
      { numRuns: 60 },
    );
  });

  it('are read as JSON.parse reads them, however the text is laid out', () => {
    fc.assert(
      fc.property(value, fc.constantFrom(undefined, 1, '\t'), (data, indent) => {
        const text = JSON.stringify({ data }, null, indent);
        expect(decode(text)).toEqual(JSON.parse(text));
      }),
      { numRuns: 60 },
    );
  });

  it('go this way from a certain length on, wherever they stand', () => {
    const codec = new PayloadCodec('auto', false);
    const isLarge = (data: unknown): boolean => codec.encode(data) instanceof LargeText;
    const text = large('x');
    expect([text, [text], { a: { b: [1, text] } }].map(isLarge)).toEqual([true, true, true]);
    expect([text.slice(1), { a: text.slice(1) }, [], null].map(isLarge)).toEqual([
      false,
      false,
      false,
      false,
    ]);
    expect(codec.encodeText({ text })).toBeInstanceOf(LargeText);
  });

  it('go as MessagePack to those who read it, from a smaller length on, with few values beside them', () => {
    const codec = new PayloadCodec('auto', false);
    const isPacked = (data: unknown): boolean => codec.encodeForOwn(data) instanceof PackedPayload;
    const text = large('x', 4_096);
    expect([text, { a: [1, text] }].map(isPacked)).toEqual([true, true]);
    expect([text.slice(1), { text: text.slice(1) }, 'small', 1].map(isPacked)).toEqual(Array(4).fill(false));
    expect(isPacked([text, ...Array<number>(62).fill(1)])).toBe(true);
    expect(isPacked([text, ...Array<number>(63).fill(1)])).toBe(false);
    expect(isPacked(`${text}\ud83d`)).toBe(false);
    expect(codec.encode(text)).toBe(JSON.stringify(text));
    expect(new PayloadCodec('auto', true).encodeForOwn(text)).toBe(JSON.stringify(text));
    expect(new PayloadCodec('json', false).encodeForOwn(text)).toBe(JSON.stringify(text));
  });

  it('do so beside dates, which are not looked into, and not beside binary', () => {
    const codec = new PayloadCodec('json', false);
    const text = large('x');
    const when = new Date(0);
    const payload = codec.encode({ when, text }) as LargeText;
    expect(payload.toText()).toBe(JSON.stringify({ when, text }));
    expect(codec.encode({ bytes: Buffer.from('ab'), text })).toBe(
      `{"bytes":{"__bytes__":"6162"},"text":"${text}"}`,
    );
  });

  it('keep integers exact beside them', () => {
    const codec = new PayloadCodec('auto', true);
    const data = { id: 2n ** 64n, text: large('x') };
    const bytes = Buffer.from(codec.encode(data) as string);
    expect(decodeValue(bytes, 0, bytes.length, codec.rules)).toEqual(data);
  });

  it('are taken out where that saves something', () => {
    const extract = (text: string): number =>
      extractLargeStrings(Buffer.from(text), 0, Buffer.byteLength(text))?.strings.size ?? 0;
    const text = large('x');
    expect(extract(JSON.stringify({ a: text, b: 'small', c: [text, text.slice(1)] }))).toBe(2);
    expect(extract(JSON.stringify({ [text]: 1 }))).toBe(0);
    expect(extract(`{"${text}" : 1}`)).toBe(0);
    expect(extract(JSON.stringify({ a: `${text}"` }))).toBe(0);
    expect(extract(JSON.stringify({ a: '\\', b: text, c: '\\"' }))).toBe(1);
    expect(extract(JSON.stringify({ a: '"', b: new Array(LARGE_STRING_LENGTH).fill(0), c: '"' }))).toBe(0);
    expect(extract(JSON.stringify([...Array.from({ length: 64 }, () => ''), text]))).toBe(0);
  });

  it('are not looked for beyond their message', () => {
    const text = large('x');
    const bytes = Buffer.from(`"a"${JSON.stringify(text)}`);
    expect(extractLargeStrings(bytes, 0, 3)).toBeUndefined();
    expect(extractLargeStrings(bytes, 3, bytes.length - 1)).toBeUndefined();
  });

  it('may be the digits of tagged binary', () => {
    const text = JSON.stringify({ a: { __bytes__: large('0f') } });
    expect(decode(text)).toEqual({ a: Buffer.alloc(LARGE_STRING_LENGTH / 2, 0x0f) });
    expect(() => decode(JSON.stringify({ a: { __bytes__: large('0g') } }))).toThrow(MalformedFrameError);
  });

  it.each<[string, string]>([
    ['a bare line feed', `{"a":"${large('x')}\n"}`],
    ['a bare control character', `{"a":"${large('x')}\u0001${large('x')}"}`],
    ['no end', `{"a":"${large('x')}`],
    ['something behind it', `{"a":"${large('x')}"}}`],
    ['something between', `{"a":"${large('x')}" "b"}`],
    ['a wrong word behind it', `{"a":"${large('x')}","b":nul}`],
  ])('with %s are refused, and nothing of ours is shown', (_, text) => {
    const error = caught(() => decode(text)) as MalformedFrameError;
    expect(error).toBeInstanceOf(MalformedFrameError);
    expect(error.message).toContain('not JSON');
    expect((error.cause as Error).message).toBe((caught(() => JSON.parse(text)) as Error).message);
  });

  it('are bounded by the frame limit, which counts all bytes of the body', () => {
    const payload = encodeLargeText(large('é'));
    const size = '{"a":'.length + payload.length + '}'.length;
    const frame = encodeFrame('{"a":', payload, '}', size) as SplitFrame;
    expect(frame.length).toBe(4 + size);
    const error = caught(() => encodeFrame('{"a":', payload, '}', size - 1));
    expect(error).toBeInstanceOf(FrameTooLargeError);
    expect(error).toMatchObject({ delivery: 'notSent' });
    const bytes = Buffer.concat([Buffer.from(frame.head, 'latin1'), frame.body, Buffer.from(frame.tail)]);
    expect(decodeValue(bytes, 4, bytes.length, PLAIN_JSON)).toEqual({ a: large('é') });
  });
});
