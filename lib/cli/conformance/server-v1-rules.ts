import type { ServerBench } from './server-bench.js';
import type { Rule } from './verdict.js';
import { isObject, type Received } from './wire.js';

/** Rules for a server's V1 clients. The others are vectors. */
export const SERVER_V1_RULES: readonly Rule<ServerBench>[] = [
  {
    id: 'v1/greeting',
    level: 'v1',
    summary: 'greets at once with type register and the account',
    async check(bench) {
      const peer = await bench.open();
      const first = await peer.next('the greeting', () => true);
      const { type, account_id: account, data } = first.body;
      peer.expect(
        type === 'register' && typeof account === 'string',
        'type register, with an account_id',
        first,
      );
      peer.expectValue('data.account_id', account, isObject(data) ? data['account_id'] : undefined, first);
    },
  },
  {
    id: 'v1/push',
    level: 'v1',
    summary: 'pushes type, account and data to a V1 client, once',
    async check(bench) {
      const peer = await bench.open();
      await bench.askV1(peer, 'echo', 1);
      await bench.askV1(peer, 'push', { type: 'conformance', data: { n: 1 } });
      const isOurs = ({ type }: Received['body']): boolean => type === 'conformance';
      await peer.until(() => peer.frames.some(({ body }) => isOurs(body)));
      const received = peer.frames.find(({ body }) => isOurs(body));
      if (received === undefined) throw peer.broken('a push', `none within ${peer.timeoutMs} ms`);
      const { account_id: account, data } = received.body;
      peer.expectValue('data', { n: 1 }, data, received);
      peer.expect(typeof account === 'string', 'an account_id', received);
      await bench.askV1(peer, 'echo', 2);
      const again = peer.frames.filter(({ body }) => isOurs(body)).length > 1;
      if (again) throw peer.broken('one push', 'two', received.bytes);
    },
  },
];
