import type { RawPeer } from './raw-peer.js';
import { capsOf, type ServerBench } from './server-bench.js';
import { NotJudged, type Rule } from './verdict.js';
import { BASE_KEYS, error, heartbeat, isObject, message, request, type Received } from './wire.js';

type ServerRule = Rule<ServerBench>;

/** What is given in addition to the 2 of the request, and how many responses have come then, for a stream of 5. */
const CREDIT_STEPS = [
  [0, 2],
  [2, 4],
  [1000, 6],
] as const;

/** What may go to anybody. */
const HARMLESS_KEYS = ['error_detail', 'meta', 'packet'];

/** Extensions, as a server keeps them. */
export const SERVER_FULL_RULES: readonly ServerRule[] = [
  {
    id: 'upgrade/greeting',
    level: 'full',
    summary: 'shows caps and max_frame_bytes in the greeting',
    async check(bench) {
      const peer = await bench.open();
      const greeting = await peer.response('', 'the greeting');
      const data = isObject(greeting.body['data']) ? greeting.body['data'] : {};
      const { caps, max_frame_bytes: limit } = data;
      peer.expect(
        Array.isArray(caps) && caps.every((cap) => typeof cap === 'string'),
        'caps as strings',
        greeting,
      );
      peer.expect(Number.isSafeInteger(limit), 'max_frame_bytes as an integer', greeting);
    },
  },
  {
    id: 'upgrade/plain',
    level: 'full',
    summary: 'sends no extension to a client that has not said hello',
    async check(bench) {
      const peer = await bench.open();
      await bench.ask(peer, 'echo', 1, { meta: { a: 'b' } });
      peer.send(request(bench.newId(), 'no.such.thing', 1), heartbeat());
      await peer.next('a heartbeat', ({ msg_type: type }) => type === 'heartbeat');
      for (const received of peer.frames) {
        const extra = Object.keys(received.body).find(
          (key) => !BASE_KEYS.includes(key) && !HARMLESS_KEYS.includes(key) && !isOfV1(key),
        );
        peer.expect(extra === undefined, `no key "${extra}"`, received);
      }
    },
  },
  {
    id: 'probe/answer',
    level: 'full',
    summary: 'answers a probe with its number, and no probe_ack',
    async check(bench) {
      const peer = await bench.upgrade();
      peer.send(heartbeat({ probe_ack: 99 }), heartbeat({ probe: 7 }));
      const received = await peer.next(
        'a heartbeat with "probe_ack": 7',
        ({ msg_type: type, probe }) => type === 'heartbeat' && probe === undefined,
      );
      peer.expectValue('probe_ack', 7, received.body['probe_ack'], received);
    },
  },
  {
    id: 'stream/values',
    level: 'full',
    summary: 'sends a stream as responses with more, and end at last',
    async check(bench) {
      const peer = await bench.upgrade();
      const values = await readStream(bench, peer, 3);
      for (const [index, value] of values.slice(0, 3).entries()) {
        peer.expectValue('the data', index + 1, value.body['data'], value);
        peer.expectValue('more', true, value.body['more'], value);
      }
      const last = values.at(-1) as Received;
      peer.expectValue('end', true, last.body['end'], last);
      peer.expect(values.length === 4, 'an end behind three values', last);
    },
  },
  {
    id: 'stream/empty',
    level: 'full',
    summary: 'sends a stream without values as one end',
    async check(bench) {
      const peer = await bench.upgrade();
      const [only] = (await readStream(bench, peer, 0)) as [Received];
      peer.expectValue('end', true, only.body['end'], only);
    },
  },
  {
    id: 'stream/single',
    level: 'full',
    summary: 'sends a single value as one response without more and end',
    async check(bench) {
      const peer = await bench.upgrade();
      const received = await bench.ask(peer, 'echo', 1);
      const { more, end, data } = received.body;
      peer.expectValue('the data', 1, data, received);
      peer.expect(more === undefined && end === undefined, 'neither more nor end', received);
    },
  },
  {
    id: 'stream/plain',
    level: 'full',
    summary: 'sends a plain client the last value of a stream, in one response',
    async check(bench) {
      const peer = await bench.open();
      const received = await bench.ask(peer, 'stream', 3);
      peer.expectValue('the data', 3, received.body['data'], received);
      const { more, end } = received.body;
      peer.expect(more === undefined && end === undefined, 'neither more nor end', received);
    },
  },
  {
    id: 'credit/kept',
    level: 'full',
    summary: 'sends no more values of a stream than there is credit for, or shows no credit and heeds none',
    async check(bench) {
      const peer = await bench.upgrade();
      const isShown = capsOf(peer).includes('credit');
      const id = bench.newId();
      const isOfIt = ({ body }: Received): boolean =>
        body['msg_type'] === 'response' && body['request_id'] === id;
      peer.send(request(id, 'stream', 5, { credit: 2 }));
      let received = await peer.response(id, 'the first value');
      bench.checkHandled('stream', received);
      // More than there are, since the end may show only when one more is asked for.
      const steps = isShown ? CREDIT_STEPS : CREDIT_STEPS.slice(-1);
      for (const [credit, count] of steps) {
        if (isShown) peer.send(message('heartbeat', id, null, { credit }));
        await peer.until(() => peer.frames.filter(isOfIt).length >= count);
        await bench.ask(peer, 'echo', 1);
        const frames = peer.frames.filter(isOfIt);
        received = frames.at(-1) as Received;
        peer.expect(frames.length === count, `${count} responses by now, not ${frames.length}`, received);
      }
    },
  },
  {
    id: 'cancel/stops',
    level: 'full',
    summary: 'stops a call that its caller cancels, and says no more of it',
    async check(bench) {
      const peer = await bench.upgrade();
      const before = await cancelledCount(bench, peer);
      await startHanging(bench, peer, 'hang');
      peer.send(error('hang', 'CANCELLED'));
      await cancelledAfter(bench, peer, before);
      const answer = peer.frames.find(({ body }) => body['request_id'] === 'hang');
      if (answer !== undefined) throw peer.broken('no more of the call', 'this frame', answer.bytes);
    },
  },
  {
    id: 'cancel/gone',
    level: 'full',
    summary: 'stops the calls of an upgraded client that ends its side',
    async check(bench) {
      const watch = await bench.upgrade();
      const before = await cancelledCount(bench, watch);
      const peer = await bench.upgrade();
      await startHanging(bench, peer, 'hang');
      peer.end();
      await cancelledAfter(bench, watch, before);
    },
  },
  {
    id: 'deadline/passed',
    level: 'full',
    summary: 'stops a call whose deadline_ms has passed',
    async check(bench) {
      const peer = await bench.upgrade();
      const before = await cancelledCount(bench, peer);
      await startHanging(bench, peer, 'hang', { deadline_ms: 30 });
      await cancelledAfter(bench, peer, before);
    },
  },
  {
    id: 'deadline/zero',
    level: 'full',
    summary: 'does not start a call with deadline_ms 0, and says so',
    async check(bench) {
      const peer = await bench.upgrade();
      const received = await bench.ask(peer, 'echo', 1, { deadline_ms: 0 });
      const { error_detail: detail, error: text } = received.body;
      peer.expect(typeof text === 'string' && text !== '', 'an error', received);
      const { code, refused } = isObject(detail) ? detail : {};
      peer.expectValue('error_detail.code', 'DEADLINE_EXCEEDED', code, received);
      peer.expectValue('error_detail.refused', true, refused, received);
    },
  },
  {
    id: 'meta/read',
    level: 'full',
    summary: 'hands meta to the handler',
    async check(bench) {
      const peer = await bench.upgrade();
      const received = await bench.ask(peer, 'meta', null, { meta: { user: 'ann' } });
      peer.expectValue('the data', { user: 'ann' }, received.body['data'], received);
    },
  },
  {
    id: 'error/detail',
    level: 'full',
    summary: 'says with error_detail what failed',
    async check(bench) {
      const peer = await bench.upgrade();
      peer.send(request('unknown', 'no.such.thing', 1));
      const received = await peer.response('unknown');
      const { error_detail: detail } = received.body;
      const { code, message: sentence } = isObject(detail) ? detail : {};
      peer.expectValue('error_detail.code', 'UNKNOWN_PATTERN', code, received);
      peer.expect(typeof sentence === 'string', 'error_detail.message as a string', received);
    },
  },
  {
    id: 'event/handled',
    level: 'full',
    summary: 'takes a push of its client for an event, and answers nothing',
    async check(bench) {
      const peer = await bench.upgrade();
      const before = await bench.ask(peer, 'events', null);
      peer.send(message('push', 'event', { type: 'event', data: 1 }));
      const after = await bench.ask(peer, 'events', null);
      peer.expectValue('events', Number(before.body['data']) + 1, after.body['data'], after);
      const answer = peer.frames.find(({ body }) => body['request_id'] === 'event');
      if (answer !== undefined) throw peer.broken('no answer to the event', 'this frame', answer.bytes);
    },
  },
  {
    id: 'limit/frame',
    level: 'full',
    summary: 'sends nothing larger than the client takes, but an error instead',
    async check(bench) {
      const peer = await bench.upgrade(2_000);
      const received = await bench.ask(peer, 'echo', 'x'.repeat(4_000));
      peer.expect(received.bytes.length <= 2_004, 'at most 2000 bytes', received);
      const { error: text } = received.body;
      peer.expect(typeof text === 'string' && text !== '', 'an error', received);
    },
  },
];

/** A server of both versions greets in both. */
function isOfV1(key: string): boolean {
  return ['type', 'account_id'].includes(key);
}

/** Every response to `stream`, up to the one without `more`. */
async function readStream(bench: ServerBench, peer: RawPeer, length: number): Promise<Received[]> {
  const id = bench.newId();
  peer.send(request(id, 'stream', length));
  const responses: Received[] = [];
  for (;;) {
    const received = await peer.response(id, 'the rest of the stream');
    bench.checkHandled('stream', received);
    responses.push(received);
    if (received.body['more'] !== true) return responses;
  }
}

async function startHanging(bench: ServerBench, peer: RawPeer, id: string, extras?: object): Promise<void> {
  peer.send(request(id, 'hang', null, extras));
  // Asked behind it, so that it has begun.
  await bench.ask(peer, 'echo', 1);
}

/** How many calls of `hang` were cancelled. */
async function cancelledCount(bench: ServerBench, peer: RawPeer): Promise<number> {
  const { body } = await bench.ask(peer, 'cancelled', null);
  if (typeof body['data'] !== 'number') throw new NotJudged('"cancelled" does not answer with a number');
  return body['data'];
}

async function cancelledAfter(bench: ServerBench, peer: RawPeer, before: number): Promise<void> {
  const until = Date.now() + peer.timeoutMs;
  while ((await cancelledCount(bench, peer)) <= before) {
    if (Date.now() > until) throw peer.broken('a cancelled call', `it runs after ${peer.timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
