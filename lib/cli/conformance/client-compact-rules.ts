import type { ClientBench } from './client-bench.js';
import { expectOutcome } from './client-outcome.js';
import { compactAnswer, compactCall, compactEnd, isCompact } from './compact.js';
import { COMPACT_GREETING, upgradedGreeting, type Call } from './dialect.js';
import type { Rule } from './verdict.js';
import { frame, isObject, response, type Received } from './wire.js';

const PAYLOAD = { 汉: ['é', 1.5, false] };

/** Bodies, one byte each character. */
const MALFORMED: readonly string[] = [
  '\x04',
  '\x04\x7fkit1',
  '\x03\x03kit\x7ftick1',
  '\x05\x03kit',
  '\x04\x03kit{nope',
  '\x06\x03kitnull',
];

/** Compact frames, as a client keeps to them. */
export const CLIENT_COMPACT_RULES: readonly Rule<ClientBench>[] = [
  {
    id: 'compact/agreed',
    level: 'full',
    summary: 'sends compact frames only if both list compact',
    async check(bench) {
      const order = { type: 'any', data: 1 };
      // Here a compact frame is no message at all.
      await bench.exchange(await bench.turn(upgradedGreeting()), order, (id) => [response(id, 1)]);
      const turn = await bench.turn(COMPACT_GREETING);
      await bench.exchange(turn, order, (id) => [response(id, 1)]);
      for (const received of turn.peer.frames) {
        if (listsCompact(received)) return;
        turn.peer.expect(!isCompact(received), 'JSON before a hello that lists compact', received);
      }
    },
  },
  {
    id: 'compact/read',
    level: 'full',
    summary: 'takes compact frames for what they mean, and asks in either form, or shows no compact',
    async check(bench) {
      const turn = await bench.turn(COMPACT_GREETING);
      const { peer } = turn;
      if (!peer.frames.some(listsCompact)) return;
      const [call] = (await bench.give(turn, [{ type: 'any', data: PAYLOAD }])) as [Call];
      peer.expectValue('the data', PAYLOAD, call.data, call.received);
      peer.send(
        compactCall('push', 'p', 'tick', PAYLOAD),
        compactCall('push', '', 'tock', null),
        compactAnswer('response', call.id, PAYLOAD),
      );
      const report = await bench.report(turn);
      expectOutcome(peer, report, { result: PAYLOAD });
      const pushes = [
        ['tick', PAYLOAD],
        ['tock', null],
      ];
      peer.expectValue('pushes', pushes, report.pushes, report.received);

      const streaming = await bench.turn(COMPACT_GREETING);
      const streamed = await bench.exchange(streaming, { type: 'any', data: 1, stream: true }, (id) => [
        compactAnswer('more', id, 1),
        compactEnd(id),
      ]);
      expectOutcome(streaming.peer, streamed, { result: [1] });
    },
  },
  {
    id: 'compact/malformed',
    level: 'full',
    summary: 'ends the connection on a compact frame that cannot be read, or shows no compact',
    async check(bench) {
      let { peer } = await bench.turn(COMPACT_GREETING);
      if (!peer.frames.some(listsCompact)) return;
      for (const body of MALFORMED) {
        peer.send(frame(body));
        await peer.gone();
        ({ peer } = await bench.turn(COMPACT_GREETING));
      }
    },
  },
];

function listsCompact({ body: { hello } }: Received): boolean {
  return isObject(hello) && Array.isArray(hello['caps']) && hello['caps'].includes('compact');
}
