import {
  encodeFailure,
  encodeHeartbeat,
  encodeNotice,
  encodePush,
  encodeRequest,
  encodeResponse,
  extra,
} from '../../../lib/protocol/envelope.js';
import { FrameTooLargeError } from '../../../lib/errors/protocol.errors.js';
import type { Frame } from '../../../lib/protocol/frame-writer.js';
import { decodeJson } from '../../../lib/protocol/json-codec.js';
import { MAX_DEPTH } from '../../../lib/protocol/value-rules.js';
import { frameBytes } from '../../support/frame-bytes.js';

const TIMESTAMP = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/) as unknown;

/** Decoded by hand: what is tested here is the text that this package writes. */
function read(frame: Frame): Record<string, unknown> {
  const bytes = frameBytes(frame);
  expect(bytes.readUInt32BE()).toBe(bytes.length - 4);
  return JSON.parse(bytes.toString('utf8', 4)) as Record<string, unknown>;
}

describe('the envelope', () => {
  it.each<[string, Frame, object]>([
    [
      'request',
      encodeRequest('a-1', 'echo', '{"x":1}', '', Infinity),
      { msg_type: 'request', request_id: 'a-1', data: { type: 'echo', data: { x: 1 } }, error: null },
    ],
    [
      'push',
      encodePush('p-1', '消息 "quoted"', '"汉"', '', Infinity),
      { msg_type: 'push', request_id: 'p-1', data: { type: '消息 "quoted"', data: '汉' }, error: null },
    ],
    [
      'response',
      encodeResponse('r-1', '[null]', extra('more', true), Infinity),
      { msg_type: 'response', request_id: 'r-1', data: [null], error: null, more: true },
    ],
    [
      'failure',
      encodeFailure('r-1', 'boom', { code: 'C' }, Infinity),
      { msg_type: 'response', request_id: 'r-1', data: null, error: 'boom', error_detail: { code: 'C' } },
    ],
    ['heartbeat', encodeHeartbeat(''), { msg_type: 'heartbeat', request_id: '', data: null, error: null }],
    [
      'probe',
      encodeHeartbeat(extra('probe', 7)),
      { msg_type: 'heartbeat', request_id: '', data: null, error: null, probe: 7 },
    ],
    [
      'notice',
      encodeNotice('', 'full 汉', { code: 'C' }),
      { msg_type: 'error', request_id: '', data: null, error: 'full 汉', error_detail: { code: 'C' } },
    ],
    [
      'cancel',
      encodeNotice('r-1', 'x', undefined),
      { msg_type: 'error', request_id: 'r-1', data: null, error: 'x' },
    ],
  ])('of a %s has the keys of the protocol', (_, frame, body) => {
    expect(read(frame)).toStrictEqual({ ...body, timestamp: TIMESTAMP });
  });

  it.each<[string, unknown]>([
    ['a UUID', '0b9d4f66-6f0a-4d22-9b7c-0f4c7a1b2c3d'],
    ['the empty id', ''],
    ['a text to be escaped', 'a"\\\n汉\u2028'],
    ['a long text', 'x'.repeat(1_000)],
    ['a number', -1.5],
    ['null', null],
    ['an object', { a: [1, { b: null }] }],
  ])('gives back %s as it came', (_, id) => {
    expect(read(encodeResponse(id, '1', '', Infinity))).toMatchObject({ request_id: id });
    expect(read(encodeFailure(id, 'e', undefined, Infinity))).toMatchObject({ request_id: id });
  });

  it('gives back any id that could be read, binary and the deepest too', () => {
    const levels = MAX_DEPTH - 1;
    const id = `${'['.repeat(levels)}{"__bytes__":"00ff"}${']'.repeat(levels)}`;
    const frame = encodeFailure(decodeJson(id), 'e', undefined, Infinity);
    expect(JSON.stringify(read(frame)['request_id'])).toBe(id);
  });

  it('never writes an empty error, which would read as success', () => {
    expect(read(encodeFailure('a', '', undefined, Infinity))).toMatchObject({ error: 'Unknown error' });
  });

  it('checks the limit on the whole body', () => {
    const { length } = encodeRequest('a', 'echo', '"x"', '', Infinity);
    expect(() => encodeRequest('a', 'echo', '"x"', '', length - 4)).not.toThrow();
    expect(() => encodeRequest('a', 'echo', '"x"', '', length - 5)).toThrow(FrameTooLargeError);
  });

  it('leaves out an extension without a value', () => {
    expect(extra('meta', undefined)).toBe('');
    expect(extra('meta', { é: 'ü' })).toBe(',"meta":{"\\u00e9":"\\u00fc"}');
  });

  it('writes types beyond those it remembers', () => {
    const types = Array.from({ length: 2_500 }, (_, i) => `type-${i}`);
    const written = types.map((type) => read(encodePush('p', type, '1', '', Infinity))['data']);
    expect(written).toEqual(types.map((type) => ({ type, data: 1 })));
  });
});
