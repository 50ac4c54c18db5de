import type { ClientBench } from './client-bench.js';
import { expectOutcome } from './client-outcome.js';
import { upgradedGreeting, type Call } from './dialect.js';
import type { Rule } from './verdict.js';
import { BASE_KEYS, error, heartbeat, isObject, response } from './wire.js';

type ClientRule = Rule<ClientBench>;

const HARMLESS_KEYS = ['meta', 'packet'];

const RECONNECT_TIMEOUT_MS = 15_000;

/** Extensions, as a client keeps them. */
export const CLIENT_FULL_RULES: readonly ClientRule[] = [
  {
    id: 'upgrade/hello',
    level: 'full',
    summary: 'says hello first to a server that shows caps',
    async check(bench) {
      const { peer, next } = await bench.turn(upgradedGreeting());
      const [first = next.received] = peer.frames;
      const { msg_type: type, hello } = first.body;
      peer.expect(type === 'heartbeat' && isObject(hello), 'a heartbeat with hello', first);
      const { name, caps } = hello as Record<string, unknown>;
      peer.expect(typeof name === 'string' && Array.isArray(caps), 'name and caps in hello', first);
    },
  },
  {
    id: 'upgrade/plain',
    level: 'full',
    summary: 'sends no extension to a server without caps',
    async check(bench) {
      const turn = await bench.turn();
      const { peer } = turn;
      await bench.exchange(turn, { type: 'any', data: 1, timeoutMs: 5_000 }, (id) => [response(id, 1)]);
      for (const received of peer.frames) {
        const extra = Object.keys(received.body).find(
          (key) => !BASE_KEYS.includes(key) && !HARMLESS_KEYS.includes(key),
        );
        peer.expect(extra === undefined, `no key "${extra}"`, received);
      }
    },
  },
  {
    id: 'probe/answer',
    level: 'full',
    summary: 'answers a probe with its number, and no other heartbeat',
    async check(bench) {
      const { peer } = await bench.turn(upgradedGreeting());
      peer.send(heartbeat({ probe_ack: 98 }), heartbeat(), heartbeat({ probe: 7 }));
      await peer.next('a heartbeat with "probe_ack": 7', ({ probe_ack: ack }) => ack === 7);
      const other = peer.frames.find(
        ({ body }) => body['probe_ack'] !== undefined && body['probe_ack'] !== 7,
      );
      if (other !== undefined) throw peer.broken('an answer to the probe alone', 'this frame', other.bytes);
    },
  },
  {
    id: 'stream/values',
    level: 'full',
    summary: 'hands every value of a stream to the application',
    async check(bench) {
      const turn = await bench.turn(upgradedGreeting());
      const report = await bench.exchange(turn, { type: 'any', data: 1, stream: true }, (id) => [
        response(id, 1, { more: true }),
        response(id, 2, { more: true }),
        response(id, null, { end: true }),
      ]);
      expectOutcome(turn.peer, report, { result: [1, 2] });
    },
  },
  {
    id: 'stream/empty',
    level: 'full',
    summary: 'takes a stream that has no values',
    async check(bench) {
      const turn = await bench.turn(upgradedGreeting());
      const report = await bench.exchange(turn, { type: 'any', data: 1, stream: true }, (id) => [
        response(id, null, { end: true }),
      ]);
      expectOutcome(turn.peer, report, { result: [] });
    },
  },
  {
    id: 'cancel/sent',
    level: 'full',
    summary: 'tells the server that it cancels a call',
    async check(bench) {
      const turn = await bench.turn(upgradedGreeting());
      const [call] = (await bench.give(turn, [{ type: 'any', data: 1, cancelAfterMs: 20 }])) as [Call];
      await turn.peer.next(
        'an error frame with the id of the request',
        ({ msg_type: type, request_id: id }) => type === 'error' && id === call.id,
      );
      await bench.report(turn);
    },
  },
  {
    id: 'deadline/sent',
    level: 'full',
    summary: 'tells the server how long it waits',
    async check(bench) {
      const turn = await bench.turn(upgradedGreeting());
      const [call] = (await bench.give(turn, [{ type: 'any', data: 1, timeoutMs: 5_000 }])) as [Call];
      const { deadline_ms: deadlineMs } = call.received.body;
      turn.peer.expect(
        Number.isInteger(deadlineMs) && Number(deadlineMs) > 0 && Number(deadlineMs) <= 5_000,
        'deadline_ms of at most 5000',
        call.received,
      );
      turn.peer.send(response(call.id, null));
      await bench.report(turn);
    },
  },
  {
    id: 'meta/sent',
    level: 'full',
    summary: 'sends metadata beside the payload',
    async check(bench) {
      const turn = await bench.turn(upgradedGreeting());
      const [call] = (await bench.give(turn, [{ type: 'any', data: 1, meta: { user: 'ann' } }])) as [Call];
      turn.peer.expectValue('meta', { user: 'ann' }, call.received.body['meta'], call.received);
      turn.peer.send(response(call.id, null));
      await bench.report(turn);
    },
  },
  {
    id: 'error/detail',
    level: 'full',
    summary: 'hands the code in error_detail to the application',
    async check(bench) {
      const turn = await bench.turn(upgradedGreeting());
      const detail = { code: 'closed', message: 'closed until nine' };
      const report = await bench.exchange(turn, { type: 'any', data: 1 }, (id) => [
        response(id, null, { error: 'closed until nine', error_detail: detail }),
      ]);
      expectOutcome(turn.peer, report, { error: 'closed until nine' });
      turn.peer.expectValue('code', detail.code, report.outcomes[0]?.code, report.received);
    },
  },
  {
    id: 'event/sent',
    level: 'full',
    summary: 'sends an event as a push',
    async check(bench) {
      const turn = await bench.turn(upgradedGreeting());
      const [call] = (await bench.give(turn, [{ type: 'any', data: { n: 1 }, event: true }])) as [Call];
      turn.peer.expectValue('msg_type', 'push', call.received.body['msg_type'], call.received);
      turn.peer.expectValue('the data', { n: 1 }, call.data, call.received);
      await bench.report(turn);
    },
  },
  {
    id: 'limit/frame',
    level: 'full',
    summary: 'sends nothing larger than the server takes, but fails the call',
    async check(bench) {
      const turn = await bench.turn(upgradedGreeting(2_000));
      bench.order(turn, [{ type: 'any', data: 'x'.repeat(4_000) }]);
      const report = await bench.report(turn);
      turn.peer.expect(
        report.outcomes[0]?.error !== undefined,
        'an outcome that is an error',
        report.received,
      );
      const large = turn.peer.frames.find(({ bytes }) => bytes.length > 2_004);
      if (large !== undefined) throw turn.peer.broken('at most 2000 bytes', 'more', large.bytes);
    },
  },
  {
    id: 'notice/going-away',
    level: 'full',
    summary: 'connects anew when the server goes away, with its answers still to come on the old connection',
    async check(bench) {
      const turn = await bench.turn(upgradedGreeting());
      const { peer } = turn;
      const [call] = (await bench.give(turn, [{ type: 'any', data: 1 }])) as [Call];
      peer.send(error('', 'GOING_AWAY'));
      const successor = await bench.accept(RECONNECT_TIMEOUT_MS);
      if (peer.isGone) throw peer.broken('an old connection that waits for its answers', 'its end');
      peer.send(response(call.id, 'late'));
      const report = await bench.reportOn(successor, upgradedGreeting());
      expectOutcome(successor, report, { result: 'late' });
      await peer.gone();
    },
  },
];
