import {
  readErrorDetail,
  readGreeting,
  readHello,
  readInteger,
  readMeta,
} from '../../../lib/protocol/guards.js';

const ODD: readonly unknown[] = [undefined, null, 0, 1, '', 'x', true, [], ['x'], Buffer.from('x')];

describe('the readers of extension keys', () => {
  it('take an odd value for an absent one', () => {
    for (const value of ODD) {
      expect(readMeta(value)).toBeUndefined();
      expect(readHello(value)).toBeUndefined();
      expect(readGreeting(value)).toEqual({
        accountId: '',
        connectionId: '',
        caps: undefined,
        maxFrameBytes: undefined,
      });
      expect(readErrorDetail(value)).toMatchObject({ code: undefined, message: undefined, isRefusal: false });
    }
  });

  it.each<[unknown, unknown]>([
    [{}, {}],
    [
      { a: 'x', b: '' },
      { a: 'x', b: '' },
    ],
    [{ a: 'x', b: 1 }, undefined],
    [{ a: null }, undefined],
    [{ a: Buffer.from('x') }, undefined],
  ])('read metadata %j', (value, meta) => {
    expect(readMeta(value)).toEqual(meta);
  });

  it.each<[unknown, number | undefined]>([
    [0, 0],
    [5, 5],
    [-1, undefined],
    [1.5, undefined],
    [2 ** 53, undefined],
    [NaN, undefined],
    ['5', undefined],
  ])('read the number %p', (value, number) => {
    expect(readInteger(value)).toBe(number);
  });

  it.each<[unknown, unknown]>([
    [
      { name: 'n', caps: [] },
      { name: 'n', caps: [], maxFrameBytes: undefined, canResume: false },
    ],
    [
      { name: 'n', caps: [], max_frame_bytes: 9 },
      { name: 'n', caps: [], maxFrameBytes: 9, canResume: false },
    ],
    [
      { name: 'n', caps: [], max_frame_bytes: '9' },
      { name: 'n', caps: [], maxFrameBytes: undefined, canResume: false },
    ],
    [
      { name: 'n', caps: ['resume'], resume: 7 },
      { name: 'n', caps: ['resume'], maxFrameBytes: undefined, canResume: true, resume: 7 },
    ],
    [
      { name: 'n', caps: ['ack', 7, null, {}] },
      { name: 'n', caps: ['ack'], maxFrameBytes: undefined, canResume: false },
    ],
    [{ name: 1, caps: [] }, undefined],
    [{ name: 'n' }, undefined],
    [
      { name: 'x'.repeat(1_000), caps: [] },
      { name: 'x'.repeat(200), caps: [], maxFrameBytes: undefined, canResume: false },
    ],
  ])('read the hello %j', (value, hello) => {
    expect(readHello(value)).toEqual(hello);
  });

  it('read a greeting, of which caps alone make an upgraded server', () => {
    expect(readGreeting({ account_id: 'a', conn_id: 'c' }).caps).toBeUndefined();
    expect(readGreeting({ account_id: 5, conn_id: null, caps: ['a', 1, null], max_frame_bytes: 7 })).toEqual({
      accountId: '',
      connectionId: '',
      caps: ['a'],
      maxFrameBytes: 7,
    });
  });

  it('read the detail of an error, of which only true is a refusal', () => {
    expect(readErrorDetail({ code: 'C', message: 'm', details: [1], payload: 0, refused: true })).toEqual({
      code: 'C',
      message: 'm',
      details: [1],
      payload: 0,
      isRefusal: true,
    });
    expect(readErrorDetail({ code: 5, message: {}, refused: 1 })).toMatchObject({
      code: undefined,
      message: undefined,
      isRefusal: false,
    });
  });
});
