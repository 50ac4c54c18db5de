import { HealthChecker } from '../../../lib/client/health-checker.js';

describe('HealthChecker', () => {
  beforeEach(() => {
    jest.useFakeTimers();
  });

  afterEach(() => {
    jest.useRealTimers();
  });

  it('is healthy before the first check', () => {
    expect(new HealthChecker().isHealthy()).toBe(true);
  });

  const fail = (): never => {
    throw new Error('down');
  };

  it.each<[string, () => boolean | void | Promise<boolean | void>, boolean]>([
    ['true', () => true, true],
    ['nothing', () => {}, true],
    ['a promise of true', () => Promise.resolve(true), true],
    ['a promise of nothing', () => Promise.resolve(), true],
    ['false', () => false, false],
    ['a promise of false', () => Promise.resolve(false), false],
    ['an error', fail, false],
    ['a rejection', () => Promise.reject(new Error('down')), false],
  ])('judges a probe that gives %s', async (_, probe, verdict) => {
    const checker = new HealthChecker();
    expect(await checker.check(probe)).toBe(verdict);
    expect(checker.isHealthy()).toBe(verdict);
    expect(jest.getTimerCount()).toBe(0);
  });

  it('is unhealthy when the probe takes longer than its timeout, 3 s by default', async () => {
    const checker = new HealthChecker();
    const verdict = checker.check(() => new Promise(() => {}));
    await jest.advanceTimersByTimeAsync(2_999);
    expect(checker.isHealthy()).toBe(true);
    await jest.advanceTimersByTimeAsync(1);
    expect(await verdict).toBe(false);
  });

  it('gives the last verdict again within its interval, 5 s by default, without a probe', async () => {
    const checker = new HealthChecker();
    let probes = 0;
    const probe = (): boolean => ++probes > 1;
    expect(await checker.check(probe)).toBe(false);
    jest.advanceTimersByTime(4_999);
    expect([await checker.check(probe), probes]).toEqual([false, 1]);
    jest.advanceTimersByTime(1);
    expect([await checker.check(probe), probes]).toEqual([true, 2]);
  });

  it('counts the interval from the end of a check', async () => {
    const checker = new HealthChecker({ intervalMs: 100, timeoutMs: 1_000 });
    const first = checker.check(
      () => new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 500)),
    );
    await jest.advanceTimersByTimeAsync(500);
    await first;
    jest.advanceTimersByTime(99);
    expect(await checker.check(() => true)).toBe(false);
  });

  it('shares one probe among checks at the same time', async () => {
    const checker = new HealthChecker({ intervalMs: 0 });
    let probes = 0;
    const probe = async (): Promise<void> => {
      probes++;
      await Promise.resolve();
    };
    await Promise.all([checker.check(probe), checker.check(probe)]);
    expect(probes).toBe(1);
    await checker.check(probe);
    expect(probes).toBe(2);
  });
});
