import { createHash } from 'node:crypto';
import { EncodeError, MalformedFrameError } from '../../../lib/errors/protocol.errors.js';
import { encodeJson } from '../../../lib/protocol/json-codec.js';
import { createPush, createRequest, type MessageBody } from '../../../lib/protocol/message-body.js';
import { asMessageBody, decodeValue, MessageProtocol } from '../../../lib/protocol/message-protocol.js';
import { caught } from '../../support/caught.js';
import { recordedFrames } from '../../support/fixtures.js';
import { frame } from '../../support/frames.js';

const { encode, decode } = MessageProtocol;
const REST = '"data":null,"timestamp":null}';

function decodeBytes(bytes: Buffer): MessageBody {
  return asMessageBody(decodeValue(bytes, 0, bytes.length));
}

describe('a body', () => {
  it.each(recordedFrames('v2'))(
    'understands the recorded frame $name',
    ({ bytes, decoded, sha256, length }) => {
      if (sha256 !== undefined) {
        expect(bytes).toHaveLength(length as number);
        expect(createHash('sha256').update(bytes).digest('hex')).toBe(sha256);
      }
      expect(decode(bytes)).toStrictEqual(decoded);
    },
  );

  it.each(recordedFrames('v1'))('refuses the recorded frame $name of V1', ({ bytes }) => {
    expect(() => decode(bytes)).toThrow(MalformedFrameError);
  });

  const padding = 'x'.repeat(5_000);

  it.each([
    ['raw UTF-8', Buffer.from(`{"msg_type":"push","request_id":"汉😀é",${REST}`), '汉😀é'],
    ['U+FFFD that was meant', Buffer.from(`{"msg_type":"push","request_id":"\ufffd",${REST}`), '\ufffd'],
    ['a byte-order mark', Buffer.from(`\ufeff{"msg_type":"push","request_id":"a",${REST}`), 'a'],
    ['large ASCII', Buffer.from(`{"msg_type":"push","request_id":"${padding}",${REST}`), padding],
    ['large raw UTF-8', Buffer.from(`{"msg_type":"push","request_id":"${padding}é",${REST}`), `${padding}é`],
  ])('reads %s', (_, bytes, id) => {
    expect(decodeBytes(bytes).request_id).toBe(id);
  });

  it('reads no byte beside its own', () => {
    const body = Buffer.from(`{"msg_type":"push","request_id":"a",${REST}`);
    const around = Buffer.concat([Buffer.from('"{'), body, Buffer.from('}"')]);
    expect(asMessageBody(decodeValue(around, 2, 2 + body.length)).request_id).toBe('a');
  });

  it.each([
    ['no byte at all', Buffer.alloc(0), 'empty'],
    [
      'a byte that is no UTF-8',
      Buffer.from(`{"msg_type":"push","request_id":"\xff",${REST}`, 'latin1'),
      'not UTF-8',
    ],
    [
      'a cut character',
      Buffer.from(`{"msg_type":"push","request_id":"\xe6\xb1",${REST}`, 'latin1'),
      'not UTF-8',
    ],
    [
      'an overlong form',
      Buffer.from(`{"msg_type":"push","request_id":"\xc0\xaf",${REST}`, 'latin1'),
      'not UTF-8',
    ],
    [
      'a surrogate in UTF-8',
      Buffer.from(`{"msg_type":"push","request_id":"\xed\xa0\xbd",${REST}`, 'latin1'),
      'not UTF-8',
    ],
    [
      'a bad byte in a large text',
      Buffer.from(`{"msg_type":"push","request_id":"${padding}\xff",${REST}`, 'latin1'),
      'not UTF-8',
    ],
    ['a bad byte beside U+FFFD', Buffer.from('"\xef\xbf\xbd\xff"', 'latin1'), 'not UTF-8'],
    ['no JSON', Buffer.from('{nope'), 'not JSON'],
    [
      'a control character in a string',
      Buffer.from(`{"msg_type":"push","request_id":"a\nb",${REST}`),
      'not JSON',
    ],
    ['a list', Buffer.from('[1]'), expect.stringMatching('no message')],
    ['null', Buffer.from('null'), expect.stringMatching('no message')],
    ['a tag for the whole', Buffer.from('{"__bytes__":"00"}'), expect.stringMatching('no message')],
    ['a missing key', Buffer.from('{"msg_type":"push","data":{}}'), expect.stringMatching('no message')],
  ])('refuses %s', (_, bytes, reason: unknown) => {
    const error = caught(() => decodeBytes(bytes));
    expect(error).toBeInstanceOf(MalformedFrameError);
    expect(error).toMatchObject({ code: 'MALFORMED_FRAME', reason });
  });
});

describe('MessageProtocol', () => {
  it.each([
    ['small', createRequest({ type: 'echo', data: { a: 1 } }, 'r1')],
    ['with other characters', createPush('消息', ['汉😀', '\ud83d'], 'p')],
    ['with binary', createPush('blob', { b: Buffer.from([0, 255]) }, 'p')],
    ['large', createPush('blob', 'x'.repeat(100_000), 'p')],
  ])('reads what it has written: %s', (_, body) => {
    expect(decode(encode(body))).toStrictEqual(body);
  });

  it('reads every recorded message written again', () => {
    for (const { decoded } of recordedFrames('v2')) {
      const again = decode(encode(decoded as unknown as MessageBody));
      // Compared as JSON, which has no -0.
      expect(encodeJson(again)).toBe(encodeJson(decoded));
    }
  });

  it('gives nothing while the frame is incomplete, and ignores what follows it', () => {
    const bytes = encode(createPush('a', 1, 'p'));
    const cuts = [0, 1, 3, 4, bytes.length - 1];
    expect(cuts.map((end) => decode(bytes.subarray(0, end)))).toEqual(cuts.map(() => undefined));
    expect(decode(Buffer.concat([bytes, Buffer.from([1, 2])]))).toMatchObject({ request_id: 'p' });
  });

  it('raises on what is no message', () => {
    expect(() => decode(frame(''))).toThrow(MalformedFrameError);
    expect(() => encode(createPush('a', 1n))).toThrow(EncodeError);
  });
});
