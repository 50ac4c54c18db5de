import { BeatLimiter } from '../../../lib/server/beat-limiter.js';

describe('BeatLimiter', () => {
  beforeEach(() => {
    jest.useFakeTimers();
  });

  afterEach(() => {
    jest.useRealTimers();
  });

  it('admits 20 heartbeats a second, again in every second', () => {
    const limiter = new BeatLimiter();
    const admitted = (): number => Array.from({ length: 50 }, () => limiter.admit()).filter(Boolean).length;
    expect(admitted()).toBe(20);
    jest.advanceTimersByTime(999);
    expect(admitted()).toBe(0);
    jest.advanceTimersByTime(1);
    expect(admitted()).toBe(20);
  });
});
