import {
  UnixSocketRecordBuilder,
  type UnixSocketClientOptions,
  type UnixSocketClientProxy,
} from 'nestjs-unix-socket';
import { lastValueFrom } from 'rxjs';
import { atEnd } from '../support/at-end.js';
import type { Address, RawPeer } from '../support/frames.js';
import { freeAddress, makeClient, TRANSPORTS } from '../support/nest-server.js';
import { rejectionOf } from '../support/rejection.js';
import { nextWhere, notice, RawServer, response } from '../support/wire.js';

const KIB = 1024;

describe.each(TRANSPORTS)('A call without a connection over %s', (transport) => {
  let address: Address;

  beforeEach(async () => {
    const server = await RawServer.listen(freeAddress(transport));
    await server.close();
    ({ address } = server);
  });

  /** The server comes up. Greets, and answers every request with its own data. */
  async function startServer(): Promise<{ server: RawServer; peer: RawPeer }> {
    const server = await RawServer.listen(address);
    atEnd(() => server.close());
    return { server, peer: await server.welcome() };
  }

  function offline(options: Partial<UnixSocketClientOptions> = {}): UnixSocketClientProxy {
    return makeClient({ ...address, reconnect: { initialDelayMs: 5, maxDelayMs: 10 }, ...options });
  }

  /** A client in the pause between two attempts. */
  async function resting(options: Partial<UnixSocketClientOptions> = {}): Promise<UnixSocketClientProxy> {
    const client = offline(options);
    const rests = new Promise((resolve) => client.on('reconnecting', resolve));
    client.connect().catch(() => undefined);
    await rests;
    return client;
  }

  const POLICIES = [
    ['wait', 'wait'],
    ['{ queue: 10 }', { queue: 10 }],
  ] as const;

  describe.each(POLICIES)('that may wait, by offline: %s', (_name, policy) => {
    it('is answered once there is one', async () => {
      const client = offline({ offline: policy });
      const answer = client.request('it', 1);
      const { peer } = await startServer();
      await answerNext(peer);
      expect(await answer).toBe('1 done');
    });

    it('goes out in the order of its making, requests and events alike', async () => {
      const client = offline({ offline: policy });
      const calls = Array.from({ length: 10 }, (_, i) =>
        i % 3 === 0 ? lastValueFrom(client.emit('it', i)) : client.request('it', i),
      );
      expect(client.getStats().waiting).toBe(10);
      const { peer } = await startServer();
      for (let i = 0; i < 10; i++) {
        const expected = i % 3 === 0 ? 'push' : 'request';
        expect(await answerNext(peer)).toMatchObject({ msg_type: expected, data: { data: i } });
      }
      await Promise.all(calls);
      expect(client.getStats()).toMatchObject({ waiting: 0, pending: 0, sent: 10, failuresByCode: {} });
    });

    it('goes out before what is called for when the connection is there', async () => {
      const client = offline({ offline: policy });
      const calls = Array.from({ length: 9 }, (_, i) => client.request('it', i));
      client.on('connect', () => calls.push(client.request('it', 'on connect')));
      client.status.subscribe((status) => {
        if (status === 'connected') calls.push(client.request('it', 'on status'));
      });
      const { peer } = await startServer();
      const seen = [];
      for (let i = 0; i < 11; i++) seen.push(dataOf(await answerNext(peer)));
      expect(seen).toEqual([...Array(9).keys(), 'on status', 'on connect']);
      await Promise.all(calls);
    });

    it('waits no longer than its own time limit', async () => {
      const client = offline({ offline: policy, requestTimeoutMs: 40 });
      const late = new UnixSocketRecordBuilder(1).setTimeout(20).build();
      const failure = { code: 'REQUEST_TIMEOUT', delivery: 'notSent' };
      await Promise.all([
        expect(client.request('it', 1)).rejects.toMatchObject({ ...failure, timeoutMs: 40 }),
        expect(lastValueFrom(client.send('it', late))).rejects.toMatchObject({ ...failure, timeoutMs: 20 }),
        expect(lastValueFrom(client.emit('it', 1))).rejects.toMatchObject({ ...failure, timeoutMs: 40 }),
        expect(lastValueFrom(client.emit('it', late))).rejects.toMatchObject({ ...failure, timeoutMs: 20 }),
      ]);
      expect(client.getStats()).toMatchObject({ waiting: 0, timeouts: 4 });

      const { peer } = await startServer();
      const next = client.request('it', 'next', { timeoutMs: 5_000 });
      expect(dataOf(await answerNext(peer))).toBe('next');
      await next;
    });

    it('waits as well when a connection was lost, or its server is going away', async () => {
      const client = offline({ offline: policy });
      const first = client.request('it', 'first');
      const { peer, server } = await startServer();
      await answerNext(peer);
      await first;
      const states: string[] = [];
      client.status.subscribe((status) => states.push(status));
      await peer.send(notice('GOING_AWAY'));
      await server.close();
      await until(() => states.includes('reconnecting'));

      const waiting = client.request('it', 'second');
      const next = await startServer();
      expect(dataOf(await answerNext(next.peer))).toBe('second');
      expect(await waiting).toBe('second done');
    });
  });

  it('fails when there is none, with offline: fail, and is answered once there is one', async () => {
    const client = await resting({ offline: 'fail', reconnect: { initialDelayMs: 30, maxDelayMs: 30 } });
    const failure = { name: 'NotConnectedError', code: 'NOT_CONNECTED', delivery: 'notSent' };
    const failures = [
      client.request('it', 1),
      lastValueFrom(client.send('it', 1)),
      lastValueFrom(client.emit('it', 1)),
    ].map((call) => rejectionOf(call));
    expect(client.getStats()).toMatchObject({ waiting: 0, failuresByCode: { NOT_CONNECTED: 3 } });
    for (const failed of failures) expect(await failed).toMatchObject(failure);

    const connected = new Promise<void>((resolve) => client.on('connect', resolve));
    const { peer } = await startServer();
    await connected;
    const answer = client.request('it', 1);
    await answerNext(peer);
    expect(await answer).toBe('1 done');
  });

  it('waits for the attempt under way, with offline: fail, and fails with it', async () => {
    const client = offline({ offline: 'fail' });
    const failure = { name: 'ConnectError', delivery: 'notSent' };
    await Promise.all([
      expect(client.request('it', 1)).rejects.toMatchObject(failure),
      expect(lastValueFrom(client.emit('it', 1))).rejects.toMatchObject(failure),
    ]);
    expect(client.getStats().waiting).toBe(0);
  });

  it.each([
    ['{ queue: 3 }', { offline: { queue: 3 } }],
    ['maxOfflineCalls', { maxOfflineCalls: 3 }],
    ['maxOfflineCalls before { queue }', { offline: { queue: 100 }, maxOfflineCalls: 3 }],
  ])('is one too many beyond %s: the newest fails, and is counted', async (_name, options) => {
    const client = offline(options);
    const failure = { name: 'OfflineQueueFullError', code: 'OFFLINE_QUEUE_FULL', delivery: 'notSent' };
    const calls = [client.request('it', 0), lastValueFrom(client.emit('it', 1)), client.request('it', 2)];
    await Promise.all([
      expect(client.request('it', 'one too many')).rejects.toMatchObject({ ...failure, limit: '3 calls' }),
      expect(lastValueFrom(client.emit('it', 'one too many'))).rejects.toMatchObject(failure),
    ]);
    expect(client.getStats()).toMatchObject({ waiting: 3, failuresByCode: { OFFLINE_QUEUE_FULL: 2 } });

    const { peer } = await startServer();
    for (let i = 0; i < 3; i++) expect(dataOf(await answerNext(peer))).toBe(i);
    await Promise.all(calls);
  });

  it.each([
    ['ASCII', 'x'],
    ['other characters', '€'],
  ])('is one too many beyond maxOfflineBytes: %s', async (_name, character) => {
    const client = offline({ maxOfflineBytes: 10 * KIB });
    const data = character.repeat((4 * KIB) / Buffer.byteLength(character));
    const calls = [client.request('it', data), lastValueFrom(client.emit('it', data))];
    const failure = { code: 'OFFLINE_QUEUE_FULL', limit: `${10 * KIB} bytes of calls`, delivery: 'notSent' };
    await Promise.all([
      expect(client.request('it', data)).rejects.toMatchObject(failure),
      expect(lastValueFrom(client.emit('it', data))).rejects.toMatchObject(failure),
    ]);
    // There is still room for a small one.
    calls.push(client.request('it', 1));
    expect(client.getStats().waiting).toBe(3);

    const { peer } = await startServer();
    for (let i = 0; i < 3; i++) await answerNext(peer);
    await Promise.all(calls);
  });

  it('gives its place to another when it does not wait any more', async () => {
    const client = offline({ offline: { queue: 1 }, maxOfflineBytes: 100 });
    const large = 'x'.repeat(80);
    await rejectionOf(client.request('it', large, { timeoutMs: 20 }));
    client.send('it', large).subscribe().unsubscribe();
    const controller = new AbortController();
    const aborted = client.request('it', large, { signal: controller.signal });
    controller.abort();
    await expect(aborted).rejects.toMatchObject({ delivery: 'notSent' });
    expect(client.getStats().waiting).toBe(0);

    const answer = client.request('it', large);
    const { peer } = await startServer();
    await answerNext(peer);
    expect(await answer).toBe(`${large} done`);
  });

  it('leaves the full queue to others once they went out', async () => {
    const client = offline({ offline: { queue: 2 } });
    for (let round = 0; round < 3; round++) {
      const calls = [client.request('it', 1), client.request('it', 2)];
      await expect(client.request('it', 3)).rejects.toMatchObject({ code: 'OFFLINE_QUEUE_FULL' });
      const { peer, server } = await startServer();
      for (let i = 0; i < 2; i++) await answerNext(peer);
      await Promise.all(calls);
      await server.close();
      await until(() => !client.isConnected());
    }
  });

  it('is dialled for by the first call, whatever the policy', async () => {
    const { server } = await startServerFirst();
    for (const policy of ['wait', 'fail', { queue: 1 }] as const) {
      const client = makeClient({ ...address, offline: policy });
      const answer = client.request('it', 1);
      await answerNext(await server.welcome());
      expect(await answer).toBe('1 done');
    }
  });

  it('fails with the reason when the attempts are over, and dials again for the next call', async () => {
    const client = offline({ reconnect: { maxAttempts: 2, initialDelayMs: 1, maxDelayMs: 1 } });
    const calls = [client.request('it', 1), lastValueFrom(client.emit('it', 2))];
    for (const call of calls)
      await expect(call).rejects.toMatchObject({ name: 'ConnectError', delivery: 'notSent' });
    expect(client.getStats()).toMatchObject({ state: 'idle', waiting: 0 });

    const { server } = await startServerFirst();
    const answer = client.request('it', 3);
    await answerNext(await server.welcome());
    expect(await answer).toBe('3 done');
  });

  async function startServerFirst(): Promise<{ server: RawServer }> {
    const server = await RawServer.listen(address);
    atEnd(() => server.close());
    return { server };
  }
});

/** The next call, answered if it is a request. */
async function answerNext(peer: RawPeer): Promise<Awaited<ReturnType<RawPeer['next']>>> {
  const call = await nextWhere(peer, ({ msg_type: type }) => type === 'request' || type === 'push');
  if (call.msg_type === 'request') await peer.send(response(call.request_id, `${dataOf(call)} done`));
  return call;
}

function dataOf({ data }: { readonly data: unknown }): string | number {
  return (data as { data: string | number }).data;
}

/** Resolves once it holds, which nothing tells; or the test's own time limit ends the wait. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 1));
}
