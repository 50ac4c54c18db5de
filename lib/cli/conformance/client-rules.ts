import type { ClientBench } from './client-bench.js';
import { expectFailure, expectOutcome } from './client-outcome.js';
import type { Call } from './dialect.js';
import type { Rule } from './verdict.js';
import { push, response, TIMESTAMP_FORM, type Received } from './wire.js';

type ClientRule = Rule<ClientBench>;

const ORDER = { type: 'any', data: { a: 1 } };
/** More than the buffers on the way hold, so that it comes in pieces. */
const LARGE_CHARACTERS = 256 * 1024;

/** For dialling again. */
const RECONNECT_GRACE_MS = 1_000;

/** What has to arrive as it is. */
const VALUES = [0, false, '', {}, [], null, -1.5, 'ä汉😀\u2028"\\/', { a: { b: [1, [2, { c: null }]] } }];

/** Rules of the base protocol that no few bodies can put to the test. */
export const CLIENT_RULES: readonly ClientRule[] = [
  {
    id: 'message/form',
    level: 'v2',
    summary: 'writes the five keys, with a local timestamp',
    async check(bench) {
      const turn = await bench.turn();
      const { body } = turn.next.received;
      const { peer } = turn;
      const { msg_type: type, timestamp, error } = body;
      peer.expect(type === 'request', 'msg_type request', turn.next.received);
      peer.expect(
        typeof timestamp === 'string' && TIMESTAMP_FORM.test(timestamp),
        'a timestamp as 2024-01-02T03:04:05.000006',
        turn.next.received,
      );
      peer.expect('error' in body && error === null, 'error null', turn.next.received);
    },
  },
  {
    id: 'request/id',
    level: 'v2',
    summary: 'gives each request an id of its own, a string',
    async check(bench) {
      const turn = await bench.turn();
      const orders = Array.from({ length: 20 }, (_, index) => ({ type: `any-${index}`, data: index }));
      const calls = await bench.give(turn, orders);
      const seen = new Set<unknown>([turn.next.id]);
      for (const { id, received } of calls) {
        turn.peer.expect(typeof id === 'string' && id !== '', 'an id that is a string', received);
        turn.peer.expect(!seen.has(id), 'an id that no other request has', received);
        seen.add(id);
      }
      turn.peer.send(...calls.map(({ id }) => bench.dialect.answer(id, null)));
      await bench.report(turn);
    },
  },
  {
    id: 'request/data',
    level: 'v2',
    summary: 'sends type and data as the application gives them',
    async check(bench) {
      const turn = await bench.turn();
      const calls = await bench.give(
        turn,
        VALUES.map((data, index) => ({ type: `any-${index}`, data })),
      );
      for (const [index, { data, received }] of calls.entries()) {
        turn.peer.expectValue('the data', VALUES[index], data, received);
      }
      turn.peer.send(...calls.map(({ id }) => bench.dialect.answer(id, null)));
      await bench.report(turn);
    },
  },
  {
    id: 'framing/split',
    level: 'v2',
    summary: 'reads a frame that comes byte by byte',
    async check(bench) {
      const turn = await bench.turn();
      const [call] = (await bench.give(turn, [ORDER])) as [Call];
      await turn.peer.sendInPieces(bench.dialect.answer(call.id, 'in pieces'));
      expectOutcome(turn.peer, await bench.report(turn), { result: 'in pieces' });
    },
  },
  {
    id: 'framing/joined',
    level: 'v2',
    summary: 'reads many frames that come at once',
    async check(bench) {
      const turn = await bench.turn();
      const pushes = Array.from({ length: 50 }, (_, index) => push('tick', index));
      const report = await bench.exchange(turn, ORDER, (id) => [...pushes, response(id, 'joined')]);
      expectOutcome(turn.peer, report, { result: 'joined' });
    },
  },
  {
    id: 'framing/large',
    level: 'v2',
    summary: 'takes and sends 256 KiB',
    async check(bench) {
      const turn = await bench.turn();
      const text = 'x'.repeat(LARGE_CHARACTERS);
      const [call] = (await bench.give(turn, [{ type: 'any', data: text }])) as [Call];
      turn.peer.expect(call.data === text, 'the same 256 KiB', call.received);
      turn.peer.send(bench.dialect.answer(call.id, text));
      const report = await bench.report(turn);
      turn.peer.expect(report.outcomes[0]?.result === text, 'the same 256 KiB', report.received);
    },
  },
  {
    id: 'framing/too-long',
    level: 'v2',
    summary: 'ends the connection on a length of 4 GiB, at once',
    async check(bench) {
      const turn = await bench.turn();
      await bench.give(turn, [ORDER]);
      turn.peer.send(Buffer.from('ffffffff7b', 'hex'));
      await turn.peer.gone();
      expectFailure(turn.peer, await bench.report(turn));
    },
  },
  {
    id: 'response/any-order',
    level: 'v2',
    summary: 'takes responses in any order',
    async check(bench) {
      const turn = await bench.turn();
      const orders = [1, 2, 3, 4, 5].map((n) => ({ type: `any-${n}`, data: n }));
      const calls = await bench.give(turn, orders);
      turn.peer.send(...calls.toReversed().map(({ id, data }) => response(id, data)));
      const { outcomes, received } = await bench.report(turn);
      const results = outcomes.map(({ result }) => result);
      turn.peer.expectValue('the results', [1, 2, 3, 4, 5], results, received);
    },
  },
  {
    id: 'heartbeat/sent',
    level: 'v2',
    summary: 'sends heartbeats; the application is set to four a second',
    async check(bench) {
      const { peer } = await bench.turn();
      const isBeat = ({ body }: Received): boolean => body['msg_type'] === 'heartbeat';
      await peer.until(() => peer.isGone || peer.frames.some(isBeat));
      const beat = peer.frames.find(isBeat);
      if (beat === undefined) throw peer.broken('a heartbeat', `none within ${peer.timeoutMs} ms`);
      peer.expectValue('request_id', '', beat.body['request_id'], beat);
    },
  },
  {
    id: 'close/lost',
    level: 'v2',
    summary: 'fails what waits for an answer as soon as the connection is lost',
    async check(bench) {
      const turn = await bench.turn();
      await bench.give(turn, [ORDER]);
      const lostAt = Date.now();
      turn.peer.destroy();
      const report = await bench.report(turn);
      expectFailure(turn.peer, report);
      const limitMs = 2 * bench.timeoutMs + RECONNECT_GRACE_MS;
      const tookMs = Date.now() - lostAt;
      if (tookMs > limitMs) {
        throw turn.peer.broken(
          `the report within ${limitMs} ms`,
          `it after ${tookMs} ms`,
          report.received.bytes,
        );
      }
    },
  },
  {
    id: 'close/end',
    level: 'v2',
    summary: 'takes the end of what the server sends for the end of the connection',
    async check(bench) {
      const turn = await bench.turn();
      await bench.give(turn, [ORDER]);
      turn.peer.end();
      await turn.peer.gone();
      expectFailure(turn.peer, await bench.report(turn));
    },
  },
];

/** V1's own; the others are vectors. */
export const CLIENT_V1_RULES: readonly ClientRule[] = [
  {
    id: 'v1/request',
    level: 'v1',
    summary: 'asks with type, request_id and data, and no msg_type',
    async check(bench) {
      const turn = await bench.turn();
      const [call] = (await bench.give(turn, [ORDER])) as [Call];
      const { request_id: id, data, msg_type: msgType } = call.received.body;
      turn.peer.expect(typeof id === 'string' && id !== '', 'an id that is a string', call.received);
      turn.peer.expect(msgType === undefined, 'no msg_type', call.received);
      turn.peer.expectValue('data', ORDER.data, data, call.received);
      turn.peer.send(bench.dialect.answer(call.id, null));
      await bench.report(turn);
    },
  },
];
