import fc from 'fast-check';
import { BackoffStrategy } from '../../../lib/client/backoff.js';

function take(backoff: BackoffStrategy, count: number): number[] {
  return Array.from({ length: count }, () => backoff.getDelay());
}

describe('BackoffStrategy', () => {
  it('gives the delays of the original by default', () => {
    const delays = take(new BackoffStrategy(), 11);
    expect(delays.slice(0, 5)).toEqual([500, 750, 1_125, 1_687.5, 2_531.25]);
    expect(delays.slice(9)).toEqual([15_000, 15_000]);
  });

  it("gives the delays of the original's client", () => {
    const backoff = new BackoffStrategy({ initialDelayMs: 3_000, maxDelayMs: 60_000, multiplier: 1.5 });
    expect(take(backoff, 10).map((delay) => Number((delay / 1_000).toFixed(1)))).toEqual([
      3, 4.5, 6.8, 10.1, 15.2, 22.8, 34.2, 51.3, 60, 60,
    ]);
  });

  it('gives an initial delay above the maximum once', () => {
    expect(take(new BackoffStrategy({ initialDelayMs: 100, maxDelayMs: 10 }), 3)).toEqual([100, 10, 10]);
  });

  it('begins anew after reset()', () => {
    const backoff = new BackoffStrategy({ initialDelayMs: 10 });
    take(backoff, 5);
    backoff.reset();
    expect(take(backoff, 2)).toEqual([10, 15]);
  });

  it('spreads each delay over its whole length with full jitter, without changing the growth', () => {
    const randoms = [0, 0.5, 0.999, 0.25];
    const backoff = new BackoffStrategy({
      initialDelayMs: 100,
      maxDelayMs: 250,
      multiplier: 2,
      jitter: 'full',
      random: () => randoms.shift() as number,
    });
    expect(take(backoff, 4)).toEqual([0, 100, 249.75, 62.5]);
  });

  it('stays within its bounds whatever is drawn', () => {
    const unit = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(fc.array(unit, { minLength: 1 }), fc.nat(10_000), fc.nat(10_000), (draws, initial, max) => {
        const options = { initialDelayMs: initial, maxDelayMs: max, multiplier: 1.7 };
        const bounds = take(new BackoffStrategy(options), draws.length);
        const drawn = [...draws];
        const random = (): number => drawn.shift() as number;
        const delays = take(new BackoffStrategy({ ...options, jitter: 'full', random }), draws.length);
        expect(delays.every((delay, i) => delay >= 0 && delay <= (bounds[i] as number))).toBe(true);
      }),
    );
  });

  it('draws from Math.random by itself', () => {
    const delays = take(new BackoffStrategy({ initialDelayMs: 1_000, multiplier: 1, jitter: 'full' }), 50);
    expect(delays.every((delay) => delay >= 0 && delay < 1_000)).toBe(true);
    expect(new Set(delays).size).toBeGreaterThan(1);
  });
});
