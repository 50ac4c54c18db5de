import { CallQueue, type CallQueueLimits } from '../../../lib/calls/call-queue.js';
import type { Caller } from '../../../lib/server/client-connection.js';
import { IncomingCall } from '../../../lib/calls/incoming-call.js';
import { ServerDialects } from '../../../lib/protocol/dialects.js';
import { resolveServerOptions } from '../../../lib/options/server-options.js';
import { frameBytes } from '../../support/frame-bytes.js';

/** A caller that hears nothing: what is tested here is when calls run, not what they answer. */
const caller = {
  isUpgraded: true,
  maxFrameBytes: Infinity,
  dialect: new ServerDialects(resolveServerOptions({ path: '/tmp/a.sock' })).v2.plain,
  sendFrame: () => {},
  noteError: () => {},
} as unknown as Caller;

describe('CallQueue', () => {
  let started: IncomingCall[];
  let settled: IncomingCall[];
  let isHeldBack: boolean;
  let queue: CallQueue;
  let onStart: (call: IncomingCall) => void;

  function newQueue(limits: Partial<CallQueueLimits>): CallQueue {
    started = [];
    settled = [];
    isHeldBack = false;
    onStart = () => {};
    queue = new CallQueue(
      { maxConcurrent: 2, maxQueued: 3, maxQueuedBytes: 1_000, maxReservedBytes: 0, ...limits },
      (call) => {
        started.push(call);
        onStart(call);
      },
      (call) => settled.push(call),
      () => isHeldBack,
    );
    return queue;
  }

  function call(id: unknown, { bytes = 10, kind = 'request' as 'request' | 'event' } = {}): IncomingCall {
    const message = {
      kind,
      id,
      type: 't',
      data: null,
      meta: undefined,
      deadlineMs: undefined,
      credit: undefined,
      isPacket: false,
      bytes,
    };
    return new IncomingCall(caller, message, queue);
  }

  const ids = (calls: readonly IncomingCall[]): unknown[] => calls.map(({ message }) => message.id);
  const counts = (): [number, number] => [queue.runningCount, queue.waitingCount];

  it('runs so many at once and the others in order as those end', () => {
    newQueue({ maxQueued: 10 });
    const calls = Array.from({ length: 6 }, (_, i) => call(i));
    expect(calls.map((one) => queue.add(one))).toEqual(Array(6).fill(true));
    expect([ids(started), counts()]).toEqual([
      [0, 1],
      [2, 4],
    ]);
    calls[1]?.respond(1);
    expect([ids(started), counts()]).toEqual([
      [0, 1, 2],
      [2, 3],
    ]);
    for (const one of calls) one.respond(1);
    expect(ids(started)).toEqual([0, 1, 2, 3, 4, 5]);
    expect([counts(), queue.isIdle, settled.length]).toEqual([[0, 0], true, 6]);
  });

  it('keeps the order of thousands that end within their own start', () => {
    newQueue({ maxConcurrent: 1, maxQueued: 1e6, maxQueuedBytes: 1e9 });
    const first = call('first');
    queue.add(first);
    for (let i = 0; i < 5_000; i++) queue.add(call(i));
    onStart = (one) => one.respond(null);
    first.respond(null);
    expect(ids(started)).toEqual(['first', ...Array(5_000).keys()]);
    expect(queue.isIdle).toBe(true);
  });

  it('starts nothing past others that wait', () => {
    newQueue({ maxConcurrent: 1 });
    const first = call('first');
    queue.add(first);
    queue.add(call('second'));
    onStart = ({ message }) => {
      if (message.id === 'second') queue.add(call('third'));
    };
    first.respond(1);
    expect(ids(started)).toEqual(['first', 'second']);
    expect(queue.waitingCount).toBe(1);
  });

  it.each<[string, Partial<CallQueueLimits>, number[], boolean[]]>([
    ['count', { maxQueued: 2 }, [10, 10, 10, 10, 10], [true, true, true, true, false]],
    ['bytes', { maxQueuedBytes: 100 }, [500, 500, 60, 40, 1], [true, true, true, true, false]],
    ['bytes of one call', { maxQueuedBytes: 100 }, [500, 500, 101, 100], [true, true, false, true]],
    ['none at all', { maxQueued: 0 }, [10, 10, 10], [true, true, false]],
  ])('refuses what exceeds its bounds: %s', (_, limits, sizes, taken) => {
    newQueue(limits);
    expect(sizes.map((bytes, i) => queue.add(call(i, { bytes })))).toEqual(taken);
  });

  it('gives the room of a waiting call back when it starts', () => {
    newQueue({ maxConcurrent: 1, maxQueuedBytes: 100 });
    const [a, b] = [call('a'), call('b', { bytes: 100 })];
    queue.add(a);
    queue.add(b);
    expect(queue.add(call('c', { bytes: 100 }))).toBe(false);
    expect(queue.hasRoom).toBe(false);
    a.respond(1);
    expect(queue.hasRoom).toBe(true);
    expect(queue.add(call('d', { bytes: 100 }))).toBe(true);
  });

  it('lets a call wait above its bounds when told to, and has room again at half of them', () => {
    newQueue({ maxConcurrent: 1, maxQueued: 2 });
    const calls = ['a', 'b', 'c', 'd'].map((id) => call(id));
    calls.forEach((one) => queue.add(one) || queue.enqueue(one));
    const rooms = calls.map((one) => {
      one.respond(1);
      return queue.hasRoom;
    });
    expect(rooms).toEqual([false, true, true, true]);
    expect(ids(started)).toEqual(['a', 'b', 'c', 'd']);
  });

  it('starts so many at once and looks at their answers before it goes on, whatever may wait', async () => {
    newQueue({ maxConcurrent: 1_000, maxQueued: 0, maxQueuedBytes: 0 });
    const calls = Array.from({ length: 200 }, (_, i) => call(i));
    expect(calls.map((one) => queue.add(one))).toEqual(Array(200).fill(true));
    expect(counts()).toEqual([64, 136]);
    await new Promise(setImmediate);
    expect(counts()).toEqual([200, 0]);
    expect(ids(started)).toEqual([...Array(200).keys()]);

    // As an answer would do that is made within the turn.
    onStart = () => void Promise.resolve().then(() => (isHeldBack = true));
    const more = Array.from({ length: 100 }, (_, i) => call(i));
    more.forEach((one) => queue.add(one));
    await new Promise(setImmediate);
    expect(counts()).toEqual([256, 44]);
    expect([queue.add(call('x')), queue.waitingCount]).toEqual([false, 44]);
    isHeldBack = false;
    onStart = () => {};
    queue.onDrain();
    expect(counts()).toEqual([300, 0]);
  });

  it('sends answers that waited in their order, and no later one before them', () => {
    newQueue({ maxConcurrent: 10 });
    const sent: unknown[] = [];
    jest.spyOn(caller, 'sendFrame').mockImplementation((frame) => {
      sent.push(JSON.parse(frameBytes(frame).subarray(4).toString()).data);
      isHeldBack = sent.length % 2 === 0;
    });
    const calls = Array.from({ length: 5 }, (_, i) => call(i));
    calls.forEach((one) => queue.add(one));
    isHeldBack = true;
    for (const n of [2, 0, 1]) calls[n]?.respond(n);
    isHeldBack = false;
    calls[3]?.respond(3);
    expect([sent, counts(), settled.length]).toEqual([[], [5, 0], 0]);
    queue.onDrain();
    expect([sent, counts()]).toEqual([
      [2, 0],
      [3, 0],
    ]);
    calls[4]?.respond(4);
    calls[1]?.cancel(new Error('cancelled'));
    queue.flush();
    expect([sent, counts(), queue.isIdle]).toEqual([[2, 0, 3, 4], [0, 0], true]);
    jest.restoreAllMocks();
  });

  it('starts nothing while it is held back', () => {
    newQueue({});
    isHeldBack = true;
    queue.add(call('a'));
    queue.pump();
    expect(counts()).toEqual([0, 1]);
    isHeldBack = false;
    queue.pump();
    expect(counts()).toEqual([1, 0]);
  });

  it.each([
    ['running', 'a', ['b', 'c']],
    ['waiting', 'b', ['a', 'c']],
  ])('cancels a %s call by its id', (_, id, rest) => {
    newQueue({ maxConcurrent: 1 });
    const calls = ['a', 'b', 'c'].map((one) => call(one));
    calls.forEach((one) => queue.add(one));
    const reason = new Error('cancelled');
    queue.cancel(id, reason);
    queue.cancel('unknown', reason);
    expect(ids(settled)).toEqual([id]);
    expect(settled[0]?.signal.reason).toBe(reason);
    calls.forEach((one) => one.respond(1));
    expect(ids(settled).slice(1)).toEqual(rest);
    expect(ids(started)).not.toContain(id === 'b' ? 'b' : undefined);
    expect(queue.isIdle).toBe(true);
  });

  it('cancels no event by an id', () => {
    newQueue({});
    queue.add(call('e', { kind: 'event' }));
    queue.cancel('e', new Error('cancelled'));
    expect(settled).toEqual([]);
  });

  it('cancels all but those it is told to keep', () => {
    newQueue({});
    const calls = ['a', 'b', 'c'].map((id) => call(id));
    calls.forEach((one) => queue.add(one));
    expect(queue.cancelAll(new Error('gone'), ({ message }) => message.id === 'a')).toBe(2);
    expect(new Set(ids(settled))).toEqual(new Set(['b', 'c']));
    expect(counts()).toEqual([1, 0]);
    expect(ids(started)).toEqual(['a', 'b']);
  });

  it('gives up those that wait', () => {
    newQueue({ maxConcurrent: 1 });
    const calls = ['a', 'b', 'c'].map((id) => call(id));
    calls.forEach((one) => queue.add(one));
    calls[1]?.cancel(new Error('cancelled'));
    expect(ids(queue.takeWaiting())).toEqual(['c']);
    expect(counts()).toEqual([1, 0]);
  });
});
