import fc from 'fast-check';
import { PushQueue, type SlowConsumerPolicy } from '../../../lib/server/push-queue.js';

/** A connection that takes what it is given until it is told not to. */
class Reader {
  queuedBytes = 0;
  readonly sent: string[] = [];
  slow = 0;
  dropped = 0;
  overflow = 0;
  readonly withdrawn: unknown[] = [];

  sendPush(frame: string | Buffer): void {
    this.sent.push(frame.toString());
  }

  onSlow(): void {
    this.slow++;
  }

  onDropped(count: number): void {
    this.dropped += count;
  }

  onWithdrawn(seq: unknown): void {
    this.withdrawn.push(seq);
  }

  onOverflow(): void {
    this.overflow++;
  }

  stall(): void {
    this.queuedBytes = 1024 * 1024;
  }

  resume(queue: PushQueue): void {
    this.queuedBytes = 0;
    queue.drain();
  }
}

function queueOf(maxBytes: number): { reader: Reader; queue: PushQueue } {
  const reader = new Reader();
  return { reader, queue: new PushQueue(reader, 1024 * 1024 + maxBytes) };
}

describe('PushQueue', () => {
  it('is out of the way while the client reads, whatever the policy', () => {
    const { reader, queue } = queueOf(100);
    for (const policy of ['disconnect', 'dropNewest', 'dropOldest', 'latest', 'volatile'] as const) {
      expect(queue.offer(policy, policy, 'k')).toBe(true);
    }
    expect(reader.sent).toEqual(['disconnect', 'dropNewest', 'dropOldest', 'latest', 'volatile']);
    expect(reader.slow).toBe(0);
  });

  it('keeps the order of what waits, and tells once that the client is slow', () => {
    const { reader, queue } = queueOf(1_000);
    reader.stall();
    for (const text of ['a', 'b', 'c']) queue.offer(text, 'disconnect', undefined);
    expect(reader.sent).toEqual([]);
    expect(queue.length).toBe(3);
    reader.resume(queue);
    expect(reader.sent).toEqual(['a', 'b', 'c']);
    expect(reader.slow).toBe(1);
    expect(queue.length).toBe(0);
    expect(queue.bytes).toBe(0);
  });

  it('disconnects past the cap, and never because of a single push', () => {
    const { reader, queue } = queueOf(10);
    reader.stall();
    expect(queue.offer('x'.repeat(100), 'disconnect', undefined)).toBe(true);
    expect(reader.overflow).toBe(0);
    expect(queue.offer('y', 'disconnect', undefined)).toBe(false);
    expect(reader.overflow).toBe(1);
  });

  it('drops the newest past the cap', () => {
    const { reader, queue } = queueOf(3);
    reader.stall();
    const taken = ['a', 'b', 'c', 'd'].map((text) => queue.offer(text, 'dropNewest', undefined));
    expect(taken).toEqual([true, true, true, false]);
    reader.resume(queue);
    expect(reader.sent).toEqual(['a', 'b', 'c']);
    expect(reader.dropped).toBe(1);
  });

  it('drops the oldest of its own kind past the cap', () => {
    const { reader, queue } = queueOf(3);
    reader.stall();
    queue.offer('!', 'disconnect', undefined);
    const places = [1, 2, 3, 4].map((n) => [{ room: 'r', epoch: 'e', n }]);
    for (const [i, text] of ['a', 'b', 'c', 'd'].entries())
      expect(queue.offer(text, 'dropOldest', undefined, places[i])).toBe(true);
    reader.resume(queue);
    expect(reader.sent).toEqual(['!', 'c', 'd']);
    expect(reader.dropped).toBe(2);
    expect(reader.withdrawn).toEqual(places.slice(0, 2));
  });

  it('keeps the latest value of each key, in memory bounded by the number of keys', () => {
    const { reader, queue } = queueOf(1_000);
    reader.stall();
    for (let i = 0; i < 10_000; i++) queue.offer(`${i % 3}:${i}`, 'latest', String(i % 3));
    expect(queue.length).toBe(3);
    expect(queue.bytes).toBeLessThan(30);
    reader.resume(queue);
    expect(reader.sent).toEqual(['0:9999', '1:9997', '2:9998']);
  });

  it('drops volatile pushes as soon as anything waits', () => {
    const { reader, queue } = queueOf(1_000);
    reader.stall();
    expect(queue.offer('v', 'volatile', undefined)).toBe(false);
    reader.resume(queue);
    expect(reader.sent).toEqual([]);
    expect(reader.dropped).toBe(1);
  });

  it('sends for each key the last value in the end, and never an older one after a newer', () => {
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.record({ key: fc.nat(4), size: fc.integer({ min: 8, max: 12 }) }) },
      { weight: 1, arbitrary: fc.constantFrom('stall' as const, 'resume' as const) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const { reader, queue } = queueOf(100);
        const last = new Map<string, number>();
        for (const [index, action] of steps.entries()) {
          if (action === 'stall') reader.stall();
          else if (action === 'resume') reader.resume(queue);
          else {
            const key = String(action.key);
            expect(queue.offer(`${key}#${index}#`.padEnd(action.size, '.'), 'latest', key)).toBe(true);
            last.set(key, index);
          }
          expect(queue.length).toBeLessThanOrEqual(5);
        }
        reader.resume(queue);
        const seen = new Map<string, number>();
        for (const text of reader.sent) {
          const [key = '', index] = text.split('#');
          expect(Number(index)).toBeGreaterThan(seen.get(key) ?? -1);
          seen.set(key, Number(index));
        }
        expect(seen).toEqual(last);
        expect(reader.overflow).toBe(0);
      }),
      { numRuns: 300 },
    );
  });

  it('accounts for every push and every byte, whatever comes in whatever order', () => {
    const policies: readonly SlowConsumerPolicy[] = [
      'disconnect',
      'dropNewest',
      'dropOldest',
      'latest',
      'volatile',
    ];
    const step = fc.oneof(
      fc.record({
        policy: fc.constantFrom(...policies),
        size: fc.integer({ min: 1, max: 9 }),
        key: fc.nat(3),
      }),
      fc.constantFrom('stall' as const, 'resume' as const),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const { reader, queue } = queueOf(40);
        let offered = 0;
        const latest = new Map<number, number>();
        for (const [index, action] of steps.entries()) {
          if (action === 'stall') reader.stall();
          else if (action === 'resume') reader.resume(queue);
          else {
            offered++;
            const text = `${action.key}#${index}#`.padEnd(action.size, '.');
            const isLatest = action.policy === 'latest';
            if (queue.offer(text, action.policy, isLatest ? String(action.key) : undefined) && isLatest) {
              latest.set(action.key, index);
            }
          }
          expect(queue.bytes).toBeLessThanOrEqual(50);
        }
        reader.resume(queue);
        expect(queue.length).toBe(0);
        expect(queue.bytes).toBe(0);
        expect(reader.sent.length + reader.dropped).toBe(offered);
        const order = reader.sent.map((text) => Number(text.split('#')[1]));
        for (const [key, index] of latest) {
          const ofKey = reader.sent
            .filter((text) => text.startsWith(`${key}#`))
            .map((text) => Number(text.split('#')[1]));
          expect(ofKey).toContain(index);
        }
        expect(new Set(order).size).toBe(order.length);
      }),
      { numRuns: 500 },
    );
  });
});
