import {
  LONGEST_ROOM_NAME,
  readResumeNotice,
  readResumeRequest,
  readSeq,
} from '../../../lib/protocol/room-positions.js';

const GOOD = { room: 'r', epoch: 'e', n: 7 };
const BAD: readonly unknown[] = [
  null,
  7,
  'r',
  [],
  {},
  { room: 'r', epoch: 'e', n: -1 },
  { room: 'r', epoch: 'e', n: 1.5 },
  { room: 'r', epoch: 'e', n: 2 ** 53 },
  { room: 'r', epoch: 'e', n: null },
  { room: 'r', epoch: 7, n: 1 },
  { room: 'r', epoch: 'x'.repeat(201), n: 1 },
  { room: ['r'], epoch: 'e', n: 1 },
  { room: 'x'.repeat(LONGEST_ROOM_NAME + 1), epoch: 'e', n: 1 },
];

describe('Readers of room positions', () => {
  it('read the numbers of a push, all of them or none', () => {
    expect(readSeq([GOOD, { ...GOOD, extra: 1 }])).toEqual([GOOD, GOOD]);
    for (const bad of [undefined, {}, [], ...BAD.map((each) => [GOOD, each])])
      expect(readSeq(bad)).toBeUndefined();
  });

  it('read what a client asks for, without what is malformed', () => {
    const positions = [...BAD, GOOD];
    expect(readResumeRequest({ token: 't', positions })).toEqual({ token: 't', positions: [GOOD] });
    for (const token of [undefined, null, 7, {}, 'x'.repeat(201)])
      expect(readResumeRequest({ token, positions })).toBeUndefined();
    for (const bad of [undefined, null, {}, 'x'])
      expect(readResumeRequest({ token: 't', positions: bad })).toBeUndefined();
    for (const bad of [undefined, null, 7, 't', []]) expect(readResumeRequest(bad)).toBeUndefined();
  });

  it('read what a server says, without what is malformed', () => {
    const positions = [
      ...BAD,
      { room: 'x'.repeat(LONGEST_ROOM_NAME + 1) },
      GOOD,
      { ...GOOD, skip: true },
      { room: 'r' },
    ];
    expect(readResumeNotice({ token: 7, positions, answer: 1 })).toEqual({
      positions: [GOOD, { ...GOOD, skip: true }, { room: 'r' }],
    });
    expect(readResumeNotice({ token: 't', positions: [], answer: true })).toEqual({
      token: 't',
      positions: [],
      answer: true,
    });
    for (const bad of [undefined, null, 7, {}, { positions: {} }])
      expect(readResumeNotice(bad)).toBeUndefined();
  });
});
