import type { ServerBench } from './server-bench.js';
import type { Rule } from './verdict.js';
import { frame, isObject, message, request, TIMESTAMP_FORM, type Received } from './wire.js';

type ServerRule = Rule<ServerBench>;

/** Half of a request that is never completed. */
const HALF_A_FRAME = request('half', 'echo', null).subarray(0, 20);

/** More than the buffers on the way hold, so that it comes in pieces. */
const LARGE_CHARACTERS = 256 * 1024;
const TOO_DEEP = 10_000;

/** Rules of the base protocol that no single body can put to the test. */
export const SERVER_RULES: readonly ServerRule[] = [
  {
    id: 'greeting/first',
    level: 'v2',
    summary: 'greets at once, before anything is said to it',
    async check(bench) {
      const peer = await bench.open();
      const first = await peer.next('the greeting', () => true);
      const { msg_type: type, request_id: id } = first.body;
      peer.expect(type === 'response' && id === '', 'a response with an empty id', first);
    },
  },
  {
    id: 'greeting/form',
    level: 'v2',
    summary: 'names account and connection in the greeting, a new connection each time',
    async check(bench) {
      const names = new Set<unknown>();
      for (let i = 0; i < 3; i++) {
        const peer = await bench.open();
        const greeting = await peer.response('', 'the greeting');
        const data = isObject(greeting.body['data']) ? greeting.body['data'] : {};
        const { account_id: account, conn_id: connection } = data;
        peer.expect(
          typeof account === 'string' && typeof connection === 'string' && connection !== '',
          'data with the strings account_id and conn_id',
          greeting,
        );
        peer.expect(!names.has(connection), 'a conn_id that no other connection has', greeting);
        names.add(connection);
      }
    },
  },
  {
    id: 'message/form',
    level: 'v2',
    summary: 'writes the five keys, with a local timestamp',
    async check(bench) {
      const peer = await bench.open();
      await bench.ask(peer, 'echo', 1);
      peer.send(request(bench.newId(), 'no.such.thing', 1));
      await peer.next('the response to "no.such.thing"', ({ error: text }) => typeof text === 'string');
      for (const received of peer.frames) {
        const { msg_type: type, request_id: id, data, timestamp, error } = received.body;
        peer.expect(typeof type === 'string', 'msg_type as a string', received);
        peer.expect(id !== undefined && data !== undefined, 'request_id and data', received);
        peer.expect(
          typeof timestamp === 'string' && TIMESTAMP_FORM.test(timestamp),
          'a timestamp as 2024-01-02T03:04:05.000006',
          received,
        );
        peer.expect(error === null || typeof error === 'string', 'error as null or a string', received);
      }
    },
  },
  {
    id: 'framing/split',
    level: 'v2',
    summary: 'reads a frame that comes byte by byte',
    async check(bench) {
      const peer = await bench.open();
      await peer.sendInPieces(request('bytes', 'echo', 'in pieces'));
      const received = await peer.response('bytes');
      peer.expectValue('the data', 'in pieces', received.body['data'], received);
    },
  },
  {
    id: 'framing/joined',
    level: 'v2',
    summary: 'reads many frames that come at once, and answers each',
    async check(bench) {
      const peer = await bench.open();
      const ids = Array.from({ length: 50 }, (_, index) => `joined-${index}`);
      peer.send(...ids.map((id) => request(id, 'echo', id)));
      const missing = new Set<unknown>(ids);
      while (missing.size > 0) {
        const received = await peer.next(`the other ${missing.size} of 50 responses`, ({ request_id: id }) =>
          missing.has(id),
        );
        const { request_id: id, data } = received.body;
        peer.expectValue('the data', id, data, received);
        missing.delete(id);
      }
    },
  },
  {
    id: 'framing/large',
    level: 'v2',
    summary: 'takes and sends 256 KiB',
    async check(bench) {
      const peer = await bench.open();
      const text = 'x'.repeat(LARGE_CHARACTERS);
      const received = await bench.ask(peer, 'echo', text);
      peer.expect(received.body['data'] === text, 'the same 256 KiB', received);
    },
  },
  {
    id: 'framing/too-long',
    level: 'v2',
    summary: 'ends the connection on a length of 4 GiB, at once',
    async check(bench) {
      const peer = await bench.open();
      peer.send(Buffer.from('ffffffff7b', 'hex'));
      await peer.gone();
    },
  },
  {
    id: 'framing/cut-off',
    level: 'v2',
    summary: 'ends the connection whose client ends within a frame',
    async check(bench) {
      const peer = await bench.open();
      peer.send(HALF_A_FRAME);
      peer.end();
      await peer.gone();
    },
  },
  {
    id: 'body/depth',
    level: 'v2',
    summary: 'survives a body of 10,000 levels: ends the connection, or answers',
    async check(bench) {
      const peer = await bench.open();
      const deep = '['.repeat(TOO_DEEP) + ']'.repeat(TOO_DEEP);
      const [head, tail] = request('deep', 'echo', '@').toString('utf8', 4).split('"@"') as [string, string];
      peer.send(frame(head + deep + tail));
      await peer.until(() => peer.isGone || peer.frames.some(({ body }) => body['request_id'] === 'deep'));
      if (!peer.frames.some(({ body }) => body['request_id'] === 'deep')) await peer.gone();
    },
  },
  {
    id: 'body/non-finite',
    level: 'v2',
    summary: 'never writes a bare NaN or Infinity',
    async check(bench) {
      const peer = await bench.open();
      const [head, tail] = request('huge', 'echo', '@').toString('utf8', 4).split('"@"') as [string, string];
      peer.send(frame(`${head}1e400${tail}`));
      // A frame that is no JSON fails here by itself.
      await peer.response('huge');
    },
  },
  {
    id: 'body/bytes',
    level: 'v2',
    summary: 'keeps tagged bytes, or at least their text',
    async check(bench) {
      const peer = await bench.open();
      const received = await bench.ask(peer, 'echo', { deep: [{ __bytes__: '6162' }] });
      const { data } = received.body;
      const isText = JSON.stringify(data) === '{"deep":["ab"]}';
      if (!isText) peer.expectValue('the data', { deep: [{ __bytes__: '6162' }] }, data, received);
    },
  },
  {
    id: 'body/bytes-bad',
    level: 'v2',
    summary: 'ends the connection on tagged bytes that are no hex, unless it knows no bytes at all',
    async check(bench) {
      for (const tagged of [{ __bytes__: 'zz' }, { __bytes__: '616' }, { __bytes__: 5 }]) {
        const peer = await bench.open();
        peer.send(request('bad', 'echo', tagged));
        await peer.until(() => peer.isGone || peer.frames.some(({ body }) => body['request_id'] === 'bad'));
        const answer = peer.frames.find(({ body }) => body['request_id'] === 'bad');
        if (answer === undefined) await peer.gone();
        else peer.expectValue('an object that is no bytes', tagged, answer.body['data'], answer);
      }
    },
  },
  {
    id: 'response/every',
    level: 'v2',
    summary: 'answers two requests of the same id twice',
    async check(bench) {
      const peer = await bench.open();
      peer.send(request('twin', 'echo', 1), request('twin', 'echo', 2));
      const first = await peer.response('twin');
      const second = await peer.response('twin', 'a second response');
      const sum = Number(first.body['data']) + Number(second.body['data']);
      peer.expectValue('the sum of both', 3, sum, second);
    },
  },
  {
    id: 'response/empty-error',
    level: 'v2',
    summary: 'has a text for a failure without one',
    async check(bench) {
      const peer = await bench.open();
      const received = await bench.ask(peer, 'fail', '');
      const { error } = received.body;
      peer.expect(typeof error === 'string' && error !== '', 'an error that is not empty', received);
    },
  },
  {
    id: 'response/unencodable',
    level: 'v2',
    summary: 'answers with an error if the result cannot be written',
    async check(bench) {
      const peer = await bench.open();
      const received = await bench.ask(peer, 'unencodable', null);
      const { error } = received.body;
      peer.expect(typeof error === 'string' && error !== '', 'an error', received);
    },
  },
  {
    id: 'push/form',
    level: 'v2',
    summary: 'pushes type and data under an id of its own',
    async check(bench) {
      const peer = await bench.open();
      const push = { type: 'conformance', data: { n: [1, null] } };
      peer.send(request('push', 'push', push));
      const isOurs = ({ msg_type: type, data }: Received['body']): boolean =>
        type === 'push' && (!isObject(data) || data['type'] === undefined || data['type'] === push.type);
      const first = await peer.next('a push', (body) => isOurs(body) || body['request_id'] === 'push');
      bench.checkHandled('push', first);
      const received = isOurs(first.body) ? first : await peer.next('a push', isOurs);
      peer.expectValue('the data', push, received.body['data'], received);
      peer.expect(typeof received.body['request_id'] === 'string', 'request_id as a string', received);
    },
  },
  {
    id: 'heartbeat/answer',
    level: 'v2',
    summary: 'answers each heartbeat with one of an empty id and no data',
    async check(bench) {
      const peer = await bench.open();
      peer.send(message('heartbeat', 'beat', { a: 1 }));
      const received = await peer.next('a heartbeat', ({ msg_type: type }) => type === 'heartbeat');
      peer.expectValue('request_id', '', received.body['request_id'], received);
      peer.expectValue('data', null, received.body['data'], received);
    },
  },
  {
    id: 'close/half',
    level: 'v2',
    summary: 'answers what was asked before the client ended its side, then ends',
    async check(bench) {
      const peer = await bench.open();
      peer.send(request('half', 'slow', { ms: 30, value: 'late' }));
      peer.end();
      const received = await peer.response('half');
      bench.checkHandled('slow', received);
      peer.expectValue('the data', 'late', received.body['data'], received);
      await peer.gone();
    },
  },
  {
    id: 'close/others',
    level: 'v2',
    summary: 'serves others as before while one talks nonsense',
    async check(bench) {
      const other = await bench.open();
      await bench.ask(other, 'echo', 1);
      const bad = await bench.open();
      bad.send(frame('nope'));
      const half = await bench.open();
      half.send(HALF_A_FRAME);
      await bad.until(() => bad.isGone);
      const received = await bench.ask(other, 'echo', 2);
      other.expectValue('the data', 2, received.body['data'], received);
      const later = await bench.open();
      await bench.ask(later, 'echo', 3);
    },
  },
];
