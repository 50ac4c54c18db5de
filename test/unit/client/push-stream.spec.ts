import { PushStream, type ReceivedPush } from '../../../lib/client/push-stream.js';

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

  it('keeps their order behind a handler that waits', async () => {
    const gates: (() => void)[] = [];
    stream.subscribe('tick', async (data) => {
      note(`begin ${String(data)}`);
      await new Promise<void>((resolve) => gates.push(resolve));
      note(`end ${String(data)}`);
    });
    stream.subscribe(undefined, (data) => note(`second ${String(data)}`));
    [1, 2, 3].forEach((data) => stream.deliver(push(data)));
    for (let i = 0; i < 3; i++) {
      gates[i]?.();
      await new Promise(setImmediate);
    }
    expect(seen).toEqual([1, 2, 3].flatMap((n) => [`begin ${n}`, `end ${n}`, `second ${n}`]));
  });

  it('handles a push that arrives within a handler after the present one', () => {
    stream.subscribe('tick', (data) => {
      if (data === 1) stream.deliver(push(2));
      note(data);
    });
    stream.deliver(push(1));
    expect(seen).toEqual([1, 2]);
  });

  it('drops the oldest waiting pushes once too many wait', async () => {
    let open = (): void => {};
    const gate = new Promise<void>((resolve) => (open = resolve));
    stream.subscribe('tick', async (data) => {
      note(data);
      await gate;
    });
    for (let i = 0; i <= 6; i++) stream.deliver(push(i));
    expect([stream.dropped, drops]).toEqual([3, 3]);
    open();
    await new Promise(setImmediate);
    expect(seen).toEqual([0, 4, 5, 6]);
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
    expect(errors).toEqual([1, 1, 2, 2].map((data) => [problem, data]));
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
