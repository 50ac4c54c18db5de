import type { PushHandling } from '../../../lib/client/push-handling.js';
import { PushStream } from '../../../lib/client/push-stream.js';
import type { ReceivedPush } from '../../../lib/client/push-subscription.js';
import { InvalidOptionError } from '../../../lib/errors/option.errors.js';
import { PushOverflowError } from '../../../lib/errors/push.errors.js';
import type { PushSubscriptionOptions } from '../../../lib/options/push-options.js';

const push = (data: unknown, type = 'tick'): ReceivedPush => ({ type, data, meta: undefined });

describe('PushStream', () => {
  let errors: [unknown, unknown][];
  let drops: number;
  let stream: PushStream;
  let seen: unknown[];
  const note = (data: unknown): void => {
    seen.push(data);
  };

  beforeEach(() => {
    errors = [];
    drops = 0;
    seen = [];
    stream = new PushStream(
      3,
      (error, { data }) => errors.push([error, data]),
      () => drops++,
    );
  });

  it('hands a push to those who asked for its type, and to those who asked for all', () => {
    stream.subscribe('tick', (data, { type }) => seen.push(`typed ${type} ${String(data)}`));
    stream.subscribe(undefined, (data, { type }) => seen.push(`all ${type} ${String(data)}`));
    stream.subscribe('__proto__', note);
    stream.deliver(push(1));
    stream.deliver(push(2, 'news'));
    stream.deliver(push(3, '__proto__'));
    expect(seen).toEqual(['typed tick 1', 'all tick 1', 'all news 2', 3, 'all __proto__ 3']);
  });

  it('keeps the order behind a handler that waits, and lets nobody else wait for it', async () => {
    const gates: (() => void)[] = [];
    stream.subscribe('tick', async (data) => {
      note(`begin ${String(data)}`);
      await new Promise<void>((resolve) => gates.push(resolve));
      note(`end ${String(data)}`);
    });
    stream.subscribe(undefined, (data) => note(`second ${String(data)}`));
    [1, 2, 3].forEach((data) => stream.deliver(push(data)));
    expect(seen).toEqual(['begin 1', 'second 1', 'second 2', 'second 3']);
    seen.length = 0;
    for (let i = 0; i < 3; i++) {
      gates[i]?.();
      await new Promise(setImmediate);
    }
    expect(seen).toEqual(['end 1', 'begin 2', 'end 2', 'begin 3', 'end 3']);
  });

  it('handles a push that arrives within a handler after the present one', () => {
    stream.subscribe('tick', (data) => {
      if (data === 1) stream.deliver(push(2));
      note(data);
    });
    stream.deliver(push(1));
    expect(seen).toEqual([1, 2]);
  });

  describe('behind a busy handler', () => {
    /** What a handler that is busy with push 0 sees once it is free, of the pushes 1 to 6. */
    async function seenOf(
      options: PushSubscriptionOptions | undefined,
      values: readonly unknown[] = [1, 2, 3, 4, 5, 6],
    ): Promise<unknown[]> {
      let open = (): void => {};
      const gate = new Promise<void>((resolve) => (open = resolve));
      const handled: unknown[] = [];
      stream.subscribe(
        'tick',
        async (data) => {
          handled.push(data);
          await gate;
        },
        options,
      );
      for (const data of [0, ...values]) stream.deliver(push(data));
      open();
      await new Promise(setImmediate);
      return handled.slice(1);
    }

    it('drops the oldest waiting pushes once too many wait', async () => {
      expect(await seenOf(undefined)).toEqual([4, 5, 6]);
      expect([stream.dropped, drops]).toEqual([3, 3]);
    });

    it('takes the bound and the policy of each subscription', async () => {
      expect(await seenOf({ bufferSize: 2 })).toEqual([5, 6]);
      expect(await seenOf({ overflow: 'dropNewest' })).toEqual([1, 2, 3]);
    });

    it('keeps the latest of each key in the place of the one before, and is not told of those it replaced', async () => {
      expect(await seenOf({ overflow: 'latest' })).toEqual([6]);
      expect([stream.dropped, drops]).toEqual([5, 0]);
      const byKey: PushSubscriptionOptions = {
        overflow: 'latest',
        key: ([symbol]: [string, number]) => symbol,
      };
      const values = [
        ['a', 1],
        ['b', 1],
        ['a', 2],
        ['c', 1],
        ['a', 3],
        ['d', 1],
        ['b', 2],
      ];
      // Three may wait: the fourth key costs the one that has waited longest.
      expect(await seenOf(byKey, values)).toEqual([
        ['b', 2],
        ['c', 1],
        ['d', 1],
      ]);
    });

    it('ends a subscription that asked for it with an error, and no other', async () => {
      const ends: unknown[] = [];
      let settle = (): void => {};
      const busy = (): Promise<void> => new Promise((resolve) => (settle = resolve));
      stream.subscribe('tick', busy, { overflow: 'error' }, { onEnd: (error) => ends.push(error) });
      stream.subscribe('tick', busy, { overflow: 'error' });
      stream.subscribe('tick', note);
      for (let i = 0; i < 6; i++) stream.deliver(push(i));
      expect(ends).toEqual([expect.any(PushOverflowError)]);
      expect(errors).toEqual([[expect.objectContaining({ code: 'PUSH_OVERFLOW', bufferSize: 3 }), 4]]);
      expect(seen).toEqual([0, 1, 2, 3, 4, 5]);
      settle();
    });

    it('reports a key that cannot be had as an error of the handler', async () => {
      const key = (): never => {
        throw new Error('no key');
      };
      expect(await seenOf({ overflow: 'latest', key }, [1])).toEqual([]);
      expect(errors).toEqual([[new Error('no key'), 1]]);
    });
  });

  it('takes 100,000 pushes that wait without moving them about', async () => {
    stream = new PushStream(
      100_000,
      () => undefined,
      () => drops++,
    );
    let open = (): void => {};
    const gate = new Promise<void>((resolve) => (open = resolve));
    let count = 0;
    let isInOrder = true;
    stream.subscribe('tick', (data) => {
      isInOrder &&= data === count;
      return count++ === 0 ? gate : undefined;
    });
    for (let i = 0; i <= 100_000; i++) stream.deliver(push(i));
    open();
    await new Promise(setImmediate);
    expect([count, isInOrder, drops]).toEqual([100_001, true, 0]);
  });

  describe('tells whoever asks how a push has fared', () => {
    let outcome: PushHandling | undefined;
    const deliver = (data: unknown, type?: string): void =>
      stream.deliver(push(data, type), (handling) => (outcome = handling));

    beforeEach(() => (outcome = undefined));

    it('at once if nobody handles it', () => {
      deliver(1);
      expect(outcome).toEqual({ handlers: 0, dropped: 0, errors: [] });
    });

    it('once the last handler is through, with what they threw', async () => {
      const problem = new Error('in a handler');
      let open = (): void => {};
      stream.subscribe('tick', () => new Promise<void>((resolve) => (open = resolve)));
      stream.subscribe('tick', () => Promise.reject(problem));
      stream.subscribe('tick', () => {
        throw problem;
      });
      deliver(1);
      await new Promise(setImmediate);
      expect(outcome).toBeUndefined();
      open();
      await new Promise(setImmediate);
      expect(outcome).toEqual({ handlers: 3, dropped: 0, errors: [problem, problem] });
      expect(stream.failed).toBe(2);
    });

    it('before the next one is handled, and lets nothing that comes meanwhile overtake', async () => {
      stream.subscribe('tick', async (data) => {
        await Promise.resolve();
        note(data);
      });
      const deliverLate = (): void => stream.deliver(push('late'));
      stream.deliver(push(1), () => (deliverLate(), queueMicrotask(deliverLate)));
      stream.deliver(push(2));
      await new Promise(setImmediate);
      expect(seen).toEqual([1, 2, 'late', 'late']);
    });

    it('when it is dropped, replaced, or its subscription ends', async () => {
      const busy = (): Promise<void> => new Promise(() => {});
      stream.subscribe('dropped', busy, { bufferSize: 1, overflow: 'dropNewest' });
      for (let i = 0; i < 3; i++) deliver(i, 'dropped');
      expect(outcome).toEqual({ handlers: 1, dropped: 1, errors: [] });
      outcome = undefined;
      stream.subscribe('replaced', busy, { overflow: 'latest' });
      for (let i = 0; i < 3; i++) deliver(i, 'replaced');
      expect(outcome).toEqual({ handlers: 1, dropped: 1, errors: [] });
      outcome = undefined;
      const end = stream.subscribe('ended', busy);
      for (let i = 0; i < 2; i++) deliver(i, 'ended');
      expect(outcome).toBeUndefined();
      end();
      expect(outcome).toEqual({ handlers: 1, dropped: 1, errors: [] });
    });
  });

  describe('with wildcards', () => {
    const fits = (pattern: string, ...types: string[]): string[] => {
      const got: string[] = [];
      const end = stream.subscribe(pattern, (_data, { type }) => got.push(type), { wildcards: true });
      for (const type of types) stream.deliver(push(0, type));
      end();
      return got;
    };

    it('takes * for one segment and a last > for one or more', () => {
      const types = [
        'ticks',
        'ticks.',
        'ticks.a',
        'ticks.a.b',
        'ticks..b',
        'other.a',
        'xticks.a',
        'ticks.ab',
      ];
      expect(fits('ticks.*', ...types)).toEqual(['ticks.a', 'ticks.ab']);
      expect(fits('ticks.*.b', ...types)).toEqual(['ticks.a.b']);
      expect(fits('ticks.>', ...types)).toEqual(['ticks.a', 'ticks.a.b', 'ticks..b', 'ticks.ab']);
      expect(fits('*.a', ...types)).toEqual(['ticks.a', 'other.a', 'xticks.a']);
      expect(fits('>', ...types)).toEqual(types);
      expect(fits('*', ...types)).toEqual(['ticks']);
      expect(fits('ticks', ...types)).toEqual(['ticks']);
    });

    it('reads nothing into the types of a peer, nor into a pattern that did not ask', () => {
      expect(fits('a.*', 'a.*', '*.a', '>', '.*', 'a.(x+x+)+y', `a.${'.'.repeat(100_000)}`)).toEqual([
        'a.*',
        'a.(x+x+)+y',
      ]);
      stream.subscribe('ticks.*', note);
      stream.deliver(push(1, 'ticks.a'));
      stream.deliver(push(2, 'ticks.*'));
      expect(seen).toEqual([2]);
    });

    it.each(['a.>.b', 'a.b*', 'a>', 'a..b', '', '.', 'a.**'])('refuses the pattern %p', (pattern) => {
      expect(() => stream.subscribe(pattern, note, { wildcards: true })).toThrow(InvalidOptionError);
    });
  });

  it.each([
    { bufferSize: 0 },
    { bufferSize: 1.5 },
    { overflow: 'newest' },
    { overflow: 'latest', key: 'symbol' },
    { key: () => '' },
    { wildcards: 'yes' },
  ] as unknown[])('refuses the options %j', (options) => {
    expect(() => stream.subscribe('tick', note, options as PushSubscriptionOptions)).toThrow(
      InvalidOptionError,
    );
  });

  describe('in a loop', () => {
    /** Adds what a loop takes to `seen`, and begins the next round when it is let. */
    async function loop(options?: PushSubscriptionOptions, rounds = Infinity): Promise<void> {
      for await (const { data } of stream.iterate('tick', options)) {
        note(data);
        if (seen.length >= rounds) return;
        await new Promise(setImmediate);
      }
    }

    it('lets what comes meanwhile wait, within the bound, and ends with the stream', async () => {
      const done = loop({ bufferSize: 2, overflow: 'latest', key: (data: number) => String(data % 2) });
      for (let i = 0; i < 7; i++) stream.deliver(push(i));
      for (let i = 0; i < 4; i++) await new Promise(setImmediate);
      expect(seen).toEqual([0, 5, 6]);
      stream.close();
      await expect(done).resolves.toBeUndefined();
      stream.deliver(push(7));
      await expect(loop()).resolves.toBeUndefined();
      expect(seen).toEqual([0, 5, 6]);
    });

    it('has handled a push once the next one is asked for, and ends its subscription with itself', async () => {
      const settled: unknown[] = [];
      const done = loop(undefined, 2);
      for (let i = 0; i < 3; i++) stream.deliver(push(i), ({ dropped }) => settled.push(i, dropped));
      expect(settled).toEqual([]);
      await done;
      expect(settled).toEqual([0, 0, 2, 1, 1, 0]);
      stream.deliver(push(3), ({ handlers }) => settled.push(handlers));
      expect(settled.at(-1)).toBe(0);
      expect(seen).toEqual([0, 1]);
    });

    it('throws after an overflow that was to be an error', async () => {
      const done = loop({ bufferSize: 1, overflow: 'error' });
      for (let i = 0; i < 3; i++) stream.deliver(push(i));
      await expect(done).rejects.toThrow(PushOverflowError);
      expect(seen).toEqual([0]);
    });

    it('serves several that ask at once in their order', async () => {
      const pushes = stream.iterate('tick', undefined, ({ data }) => data);
      const asked = [pushes.next(), pushes.next(), pushes.next()];
      stream.deliver(push(1));
      stream.deliver(push(2));
      stream.close();
      expect(await Promise.all(asked)).toEqual([
        { done: false, value: 1 },
        { done: false, value: 2 },
        { done: true, value: undefined },
      ]);
    });
  });

  it('keeps nothing that nobody asked for', () => {
    for (let i = 0; i < 10; i++) stream.deliver(push(i));
    expect(stream.dropped).toBe(0);
    stream.subscribe('tick', note);
    expect(seen).toEqual([]);
  });

  it('reports a handler that throws or rejects, and goes on', async () => {
    const problem = new Error('in a handler');
    stream.subscribe('tick', () => {
      throw problem;
    });
    stream.subscribe('tick', () => Promise.reject(problem));
    stream.subscribe('tick', note);
    stream.deliver(push(1));
    stream.deliver(push(2));
    await new Promise(setImmediate);
    expect(errors).toEqual([1, 2, 1, 2].map((data) => [problem, data]));
    expect(seen).toEqual([1, 2]);
  });

  it('takes a function subscribed twice for two subscriptions, each ended by itself', () => {
    const endFirst = stream.subscribe('tick', note);
    const endSecond = stream.subscribe('tick', note);
    stream.deliver(push(1));
    endFirst();
    endFirst();
    stream.deliver(push(2));
    endSecond();
    stream.deliver(push(3));
    expect(seen).toEqual([1, 1, 2]);
  });

  it('ends a subscription whose type somebody else has subscribed to since', () => {
    const endFirst = stream.subscribe('tick', note);
    endFirst();
    stream.subscribe('tick', note);
    endFirst();
    stream.deliver(push(1));
    expect(seen).toEqual([1]);
  });
});
