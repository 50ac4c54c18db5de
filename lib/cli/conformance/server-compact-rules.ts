import { COMPACT_CAPS, compactCall, isCompact } from './compact.js';
import type { RawPeer } from './raw-peer.js';
import { capsOf, UNKNOWN, type ServerBench } from './server-bench.js';
import type { Rule } from './verdict.js';
import { frame, message, request, type Received } from './wire.js';

const LONGEST_ID = 127;
const PAYLOADS: readonly unknown[] = [null, 'plain', { 汉: ['é', 1.5, false] }, 'x'.repeat(100_000)];
const PUSH = { type: 'conformance', data: { n: [1, null] } };

/** Bodies, one byte each character. */
const MALFORMED: readonly string[] = [
  '\x02',
  '\x02\x7fkit\x04echo1',
  '\x02\x03kit',
  '\x02\x03kit\x7fecho1',
  '\x02\x03kit\x04echo',
  '\x02\x03kit\x04echo{nope',
  '\x02\x03kit\x04echo"\xff"',
  '\x06\x7fkit',
  '\x06\x03kitnull',
];

/** Compact frames, as a server keeps to them. */
export const SERVER_COMPACT_RULES: readonly Rule<ServerBench>[] = [
  {
    id: 'compact/agreed',
    level: 'full',
    summary: 'sends compact frames only if both list compact',
    async check(bench) {
      // Here a compact frame is no message at all.
      const plain = await bench.upgrade();
      await bench.ask(plain, 'echo', 1);
      await pushed(bench, plain);
      const peer = await bench.upgrade(undefined, COMPACT_CAPS);
      if (capsOf(peer).includes('compact')) return;
      await bench.ask(peer, 'echo', 1);
      await pushed(bench, peer);
      const compact = peer.frames.find(isCompact);
      if (compact !== undefined) throw peer.broken('JSON without compact', 'this frame', compact.bytes);
    },
  },
  {
    id: 'compact/read',
    level: 'full',
    summary: 'takes compact frames for what they mean, and answers in either form, or shows no compact',
    async check(bench) {
      const peer = await bench.upgrade(undefined, COMPACT_CAPS);
      if (!capsOf(peer).includes('compact')) return;
      for (const data of PAYLOADS) {
        const received = await ask(peer, bench.newId(), 'echo', data);
        peer.expectValue('the data', data, received.body['data'], received);
      }
      const unknown = await ask(peer, bench.newId(), 'no.such.thing', 1);
      peer.expectValue('the error', UNKNOWN, unknown.body['error'], unknown);
      await ask(peer, 'x'.repeat(LONGEST_ID), 'echo', 1);
      // What does not fit is JSON on both ways.
      peer.send(request('é', 'echo', 1));
      await peer.response('é');
      const push = await pushed(bench, peer);
      peer.expectValue('the data', PUSH, push.body['data'], push);
      await checkEvent(bench, peer);
      await checkStream(bench, peer);
    },
  },
  {
    id: 'compact/malformed',
    level: 'full',
    summary: 'ends the connection on a compact frame that cannot be read, or shows no compact',
    async check(bench) {
      for (const body of MALFORMED) {
        const peer = await bench.upgrade(undefined, COMPACT_CAPS);
        if (!capsOf(peer).includes('compact')) return;
        peer.send(frame(Buffer.from(body, 'latin1')));
        await peer.gone();
      }
    },
  },
];

/** The response to a compact request. */
function ask(peer: RawPeer, id: string, type: string, data: unknown): Promise<Received> {
  peer.send(compactCall('request', id, type, data));
  return peer.response(id, `the response to "${type}"`);
}

/** The push that the application has been asked for. */
async function pushed(bench: ServerBench, peer: RawPeer): Promise<Received> {
  const id = bench.newId();
  const isPush = ({ msg_type: type }: Received['body']): boolean => type === 'push';
  peer.send(request(id, 'push', PUSH));
  const first = await peer.next('a push', (body) => isPush(body) || body['request_id'] === id);
  bench.checkHandled('push', first);
  return isPush(first.body) ? first : peer.next('a push', isPush);
}

/** A compact event counts as one in JSON does. */
async function checkEvent(bench: ServerBench, peer: RawPeer): Promise<void> {
  const counts: number[] = [];
  let received = await bench.ask(peer, 'events', null);
  for (const event of [
    message('push', 'event', { type: 'event', data: 1 }),
    compactCall('push', 'event', 'event', 1),
  ]) {
    const before = Number(received.body['data']);
    peer.send(event);
    received = await bench.ask(peer, 'events', null);
    counts.push(Number(received.body['data']) - before);
  }
  peer.expectValue('events', counts[0], counts[1], received);
}

/** Its values; how it ends is what another rule is about. */
async function checkStream(bench: ServerBench, peer: RawPeer): Promise<void> {
  const id = bench.newId();
  peer.send(compactCall('request', id, 'stream', 2));
  for (const expected of [1, 2]) {
    const value = await peer.response(id, 'the rest of the stream');
    bench.checkHandled('stream', value);
    peer.expectValue('the data', expected, value.body['data'], value);
    peer.expectValue('more', true, value.body['more'], value);
  }
  await peer.response(id, 'the end of the stream');
}
