import { FrameTooLargeError } from '../../../lib/errors/protocol.errors.js';
import { asciiJson, encodeFrame } from '../../../lib/protocol/frame-writer.js';
import { caught } from '../../support/caught.js';
import { frameBytes } from '../../support/frame-bytes.js';

describe('encodeFrame', () => {
  it.each<[string, string, 'string' | 'object']>([
    ['nothing', '', 'string'],
    ['small ASCII', '"hello"', 'string'],
    ['200 characters, whose length is no ASCII itself', `"${'x'.repeat(198)}"`, 'string'],
    ['small text that is no ASCII', '"汉字 \u{1f600} é"', 'object'],
    ['latin-1 text', '"é"', 'object'],
    ['large ASCII', `"${'x'.repeat(70_000)}"`, 'object'],
    ['large text that is no ASCII', `"${'汉'.repeat(30_000)}"`, 'object'],
  ])('writes the length in bytes before a body of %s', (_, json, kind) => {
    const frame = encodeFrame('{"a":', json, ',"b":1}', Infinity);
    const body = Buffer.from(`{"a":${json},"b":1}`);
    // Joined and written as one byte per character, which only ASCII survives.
    expect(typeof frame).toBe(kind);
    expect(frame).toHaveLength(4 + body.length);
    expect(frameBytes(frame).readUInt32BE()).toBe(body.length);
    expect(frameBytes(frame).subarray(4).equals(body)).toBe(true);
  });

  it.each([
    ['ASCII', 'xxxxxxxxxx', 12],
    ['other text, counted in bytes', '汉汉汉', 11],
    ['large ASCII', 'x'.repeat(100_000), 100_002],
  ])('takes a body of exactly the limit and refuses one byte more: %s', (_, json, bytes) => {
    expect(encodeFrame('{', json, '}', bytes)).toHaveLength(4 + bytes);
    const error = caught(() => encodeFrame('{', json, '}', bytes - 1));
    expect(error).toBeInstanceOf(FrameTooLargeError);
    expect(error).toMatchObject({ bytes, limitBytes: bytes - 1, delivery: 'notSent' });
  });
});

describe('asciiJson', () => {
  it.each([
    ['汉', '"\\u6c49"'],
    ['\u{1f600}', '"\\ud83d\\ude00"'],
    ['\u0080\u2028\u2029', '"\\u0080\\u2028\\u2029"'],
    ['plain "text"', '"plain \\"text\\""'],
    [{ é: [null] }, '{"\\u00e9":[null]}'],
  ])('escapes all but ASCII: %j', (value, json) => {
    expect(asciiJson(value)).toBe(json);
  });
});
