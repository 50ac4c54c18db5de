import { Deadlines, type Expiring } from '../../../lib/connection/deadlines.js';

describe('Deadlines', () => {
  let deadlines: Deadlines;
  let expired: string[];

  beforeEach(() => {
    jest.useFakeTimers();
    deadlines = new Deadlines();
    expired = [];
  });

  afterEach(() => {
    jest.useRealTimers();
  });

  function add(name: string, timeoutMs: number, onExpired = () => {}): Expiring {
    const item: Expiring = {
      lane: undefined,
      previous: undefined,
      following: undefined,
      expiresAt: 0,
      onExpired: () => {
        expired.push(name);
        onExpired();
      },
    };
    deadlines.add(item, timeoutMs, performance.now());
    return item;
  }

  it('expires each call at its own time, those with the same limit in their order', () => {
    add('a', 100);
    add('short', 30);
    jest.advanceTimersByTime(40);
    expect(expired).toEqual(['short']);
    add('b', 100);
    jest.advanceTimersByTime(60);
    expect(expired).toEqual(['short', 'a']);
    jest.advanceTimersByTime(39);
    expect(expired).toEqual(['short', 'a']);
    jest.advanceTimersByTime(1);
    expect(expired).toEqual(['short', 'a', 'b']);
  });

  it('never expires a call without a limit', () => {
    const items = [add('none', 0), add('negative', -1)];
    jest.advanceTimersByTime(1e9);
    expect(expired).toEqual([]);
    items.forEach((item) => deadlines.remove(item));
    expect(jest.getTimerCount()).toBe(0);
  });

  it.each([
    ['first', 0, ['b', 'c']],
    ['middle', 1, ['a', 'c']],
    ['last', 2, ['a', 'b']],
  ])('forgets the %s call when it has ended', (_, index, others) => {
    const items = ['a', 'b', 'c'].map((name) => add(name, 100));
    const item = items[index] as Expiring;
    deadlines.remove(item);
    deadlines.remove(item);
    jest.advanceTimersByTime(100);
    expect(expired).toEqual(others);
    expect([item.lane, item.previous, item.following]).toEqual([undefined, undefined, undefined]);
  });

  it('gives a call that is added again its whole time', () => {
    const item = add('a', 100);
    jest.advanceTimersByTime(90);
    deadlines.remove(item);
    deadlines.add(item, 100, performance.now());
    jest.advanceTimersByTime(99);
    expect(expired).toEqual([]);
    jest.advanceTimersByTime(1);
    expect(expired).toEqual(['a']);
  });

  it('lets an expiring call end others and begin new ones', () => {
    const doomed = add('unused', 100);
    deadlines.remove(doomed);
    add('a', 100, () => {
      deadlines.remove(b);
      add('c', 100);
    });
    const b = add('b', 100);
    jest.advanceTimersByTime(100);
    expect(expired).toEqual(['a']);
    jest.advanceTimersByTime(100);
    expect(expired).toEqual(['a', 'c']);
  });

  it('keeps one timer for all calls with the same limit, and none when nothing waits', () => {
    const items = Array.from({ length: 1_000 }, (_, i) => add(String(i), 100));
    expect(jest.getTimerCount()).toBe(1);
    items.forEach((item) => deadlines.remove(item));
    jest.advanceTimersByTime(100);
    expect(expired).toEqual([]);
    expect(jest.getTimerCount()).toBe(0);
  });

  it('keeps no timers for ended calls whose limits were all different', () => {
    for (let i = 1; i <= 10_000; i++) deadlines.remove(add(String(i), 1e9 + i));
    expect(jest.getTimerCount()).toBeLessThan(100);
    const rest = Array.from({ length: 200 }, (_, i) => add(String(i), 1_000 + i));
    rest.slice(0, 100).forEach((item) => deadlines.remove(item));
    jest.advanceTimersByTime(2_000);
    expect(expired).toEqual(Array.from({ length: 100 }, (_, i) => String(100 + i)));
  });
});
