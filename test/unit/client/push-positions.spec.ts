import { PushPositions, type PushGap } from '../../../lib/client/push-positions.js';

const at = (n: number, room = 'r', epoch = 'e') => ({ room, epoch, n });

/** Positions on their first connection, in the room `r` at number 5. */
function following() {
  const gaps: PushGap[] = [];
  const positions = new PushPositions((gap) => gaps.push(gap));
  const connection = {};
  expect(positions.begin(connection, true, 1_000)).toBeUndefined();
  expect(positions.onNotice(connection, { token: 't1', positions: [at(5)] })).toBe(true);
  return { positions, gaps, connection };
}

describe('PushPositions', () => {
  it('takes each number once, and reports those that are missing', () => {
    const { positions, gaps, connection } = following();
    const taken = [6, 6, 5, 7, 9, 8, 10].filter((n) => positions.admit(connection, [at(n)]));
    expect(taken).toEqual([6, 7, 9, 10]);
    expect(gaps).toEqual([{ room: 'r', from: 8, to: 8 }]);
    expect(positions.admit(connection, [at(1, 'r', 'e2')])).toBe(true);
    expect(gaps[1]).toEqual({ room: 'r', from: 11, to: undefined });
  });

  it('takes what has no number, and numbers of rooms it is not in', () => {
    const { positions, gaps, connection } = following();
    expect(positions.admit(connection, undefined)).toBe(true);
    expect([7, 7, 3].map((n) => positions.admit(connection, [at(n, 'other')]))).toEqual([true, true, true]);
    expect(gaps).toEqual([]);
  });

  it('takes a push to several rooms that is new in one of them', () => {
    const { positions, gaps, connection } = following();
    positions.onNotice(connection, { positions: [at(1, 's')] });
    expect(positions.admit(connection, [at(6), at(2, 's')])).toBe(true);
    expect(positions.admit(connection, [at(6), at(3, 's')])).toBe(true);
    expect(positions.admit(connection, [at(6), at(3, 's')])).toBe(false);
    expect(gaps).toEqual([]);
  });

  it('believes the server about what is lost, what was for others, and that it has left', () => {
    const { positions, gaps, connection } = following();
    positions.onNotice(connection, { positions: [at(5), at(4), { ...at(6), skip: true as const }, at(8)] });
    expect(gaps).toEqual([{ room: 'r', from: 7, to: 8 }]);
    positions.onNotice(connection, {
      positions: [
        { ...at(10), skip: true as const },
        { ...at(3, 'unknown'), skip: true as const },
      ],
    });
    expect(gaps[1]).toEqual({ room: 'r', from: 9, to: 9 });
    positions.onNotice(connection, { positions: [{ room: 'r' }, at(100)] });
    expect(positions.admit(connection, [at(101)])).toBe(true);
    expect(gaps).toHaveLength(2);
  });

  it('asks a new connection for all it has, and takes nothing of it until it is answered', () => {
    const { positions, gaps } = following();
    const next = {};
    expect(positions.begin(next, true, 1_000)).toEqual({ token: 't1', positions: [at(5)] });
    expect(positions.admit(next, [at(8)])).toBe(false);
    expect(positions.onNotice(next, { positions: [at(5)] })).toBe(false);
    expect(positions.admit(next, [at(6)])).toBe(true);
    positions.onNotice(next, { token: 't2', positions: [], answer: true });
    expect(gaps).toEqual([]);
    expect(positions.begin({}, true, 1_000)?.token).toBe('t2');
  });

  it('takes nothing numbered from a connection that another has replaced', () => {
    const { positions, gaps, connection } = following();
    const next = {};
    positions.begin(next, true, 1_000);
    expect(positions.admit(connection, [at(6)])).toBe(false);
    expect(positions.onNotice(connection, { token: 'late', positions: [at(9)] })).toBe(false);
    positions.onNotice(next, { positions: [], answer: true });
    expect(gaps).toEqual([{ room: 'r', from: 6, to: undefined }]);
    expect(positions.admit(connection, [at(7)])).toBe(false);
    expect(positions.admit(connection, [at(7, 'other')])).toBe(true);
    expect(positions.admit(connection, undefined)).toBe(true);
  });

  it('gives its rooms up where the server cannot resume, or cannot be asked for so many', () => {
    for (const [canResume, maxBytes] of [
      [false, 1_000],
      [true, 50],
    ] as const) {
      const { positions, gaps } = following();
      expect(positions.begin({}, canResume, maxBytes)).toBeUndefined();
      expect(gaps).toEqual([{ room: 'r', from: 6, to: undefined }]);
      expect(positions.begin({}, true, 1_000)).toBeUndefined();
    }
  });

  it('remembers no more rooms than a client can bear', () => {
    const { positions, connection } = following();
    for (let i = 0; i < 20; i++)
      positions.onNotice(connection, {
        positions: Array.from({ length: 1_000 }, (_, k) => at(1, `${i}-${k}`)),
      });
    expect(positions.begin({}, true, 10_000_000)?.positions).toHaveLength(10_000);
  });
});
