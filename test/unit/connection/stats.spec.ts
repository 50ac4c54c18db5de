import { RoundTrip } from '../../../lib/connection/round-trip.js';
import { Slots, type Slotted } from '../../../lib/connection/slots.js';
import { ErrorCounter, LatencyRecorder, MessageCounter } from '../../../lib/connection/stats.js';

describe('LatencyRecorder', () => {
  it('gives percentiles in milliseconds', () => {
    const recorder = new LatencyRecorder();
    for (let i = 1; i <= 100; i++) recorder.record(i);
    const summary = recorder.summary();
    expect(summary.count).toBe(100);
    // To a hundredth of the value.
    expect(Math.abs(summary.mean - 50.5)).toBeLessThan(0.6);
    expect(Math.abs(summary.p50 - 50)).toBeLessThan(0.6);
    expect(Math.abs(summary.p90 - 90)).toBeLessThan(1);
    expect(Math.abs(summary.p99 - 99)).toBeLessThan(1);
    expect(Math.abs(summary.max - 100)).toBeLessThan(1.1);
    expect(Object.isFrozen(summary)).toBe(true);
  });

  it('is all zero before the first', () => {
    expect(new LatencyRecorder().summary()).toEqual({ count: 0, mean: 0, p50: 0, p90: 0, p99: 0, max: 0 });
  });

  it.each([0, -5, 0.000_01, 1e12])('takes %p without harm', (value) => {
    const recorder = new LatencyRecorder();
    recorder.record(value);
    expect(recorder.summary().count).toBe(1);
  });
});

describe('MessageCounter and ErrorCounter', () => {
  it('give frozen snapshots that do not change', () => {
    const messages = new MessageCounter();
    const errors = new ErrorCounter();
    messages.add('push');
    errors.add('A');
    const before = [messages.snapshot(), errors.snapshot()];
    messages.add('push');
    errors.add('A');
    errors.add('__proto__');
    expect(before).toEqual([{ heartbeat: 0, request: 0, response: 0, push: 1, error: 0 }, { A: 1 }]);
    expect(before.every((snapshot) => Object.isFrozen(snapshot))).toBe(true);
    expect(errors.total).toBe(3);
    expect(Object.entries(errors.snapshot())).toEqual([
      ['A', 2],
      ['__proto__', 1],
    ]);
  });
});

describe('Slots', () => {
  interface Member extends Slotted {
    name: string;
  }
  const member = (name: string): Member => ({ name, slot: -1 });

  it('keeps each member at its place and gives free places again', () => {
    const slots = new Slots<Member>();
    const [a, b, c] = [member('a'), member('b'), member('c')];
    expect([slots.add(a), slots.add(b), slots.size]).toEqual([0, 1, 2]);
    expect(slots.remove(a)).toBe(true);
    expect([a.slot, slots.get(0), slots.size]).toEqual([-1, undefined, 1]);
    expect(slots.add(c)).toBe(0);
    expect([slots.get(0), slots.get(1), slots.get(2)]).toEqual([c, b, undefined]);
    expect(slots.toArray()).toEqual([c, b]);
    expect(slots.find(({ name }) => name === 'b')).toBe(b);
  });

  it('removes nothing that is not in it', () => {
    const slots = new Slots<Member>();
    const a = member('a');
    slots.add(a);
    expect(slots.remove(member('b'))).toBe(false);
    expect(slots.remove({ name: 'impostor', slot: 0 })).toBe(false);
    expect([slots.remove(a), slots.remove(a), slots.size]).toEqual([true, false, 0]);
  });

  it('takes odd numbers for free places', () => {
    const slots = new Slots<Member>();
    slots.add(member('a'));
    expect([NaN, -1, 0.5, 1e9, Infinity].map((slot) => slots.get(slot))).toEqual(Array(5).fill(undefined));
  });
});

describe('RoundTrip', () => {
  it('measures the answer to any probe under way, once, and none before it any more', () => {
    const roundTrip = new RoundTrip();
    const wrong = [0, undefined, '1', NaN, 1, -1, 0.5, 1e300];
    expect(wrong.map((answer) => roundTrip.finish(answer))).toEqual(wrong.map(() => false));
    const [first, second, third] = [roundTrip.start(), roundTrip.start(), roundTrip.start()];
    expect(roundTrip.lastMs).toBeUndefined();
    // The answer takes longer than the interval between two probes.
    expect(roundTrip.finish(second)).toBe(true);
    expect(roundTrip.lastMs).toBeGreaterThanOrEqual(0);
    expect([first, second, 4].map((answer) => roundTrip.finish(answer))).toEqual([false, false, false]);
    expect(roundTrip.finish(third)).toBe(true);
  });

  it('remembers so many probes only', () => {
    const roundTrip = new RoundTrip();
    const probes = Array.from({ length: 1_000 }, () => roundTrip.start());
    expect(probes.filter((probe) => roundTrip.finish(probe))).toEqual(probes.slice(-64));
  });
});
