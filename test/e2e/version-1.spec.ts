import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { interval, map, take } from 'rxjs';
import {
  AccountMismatchError,
  MalformedFrameError,
  RemoteError,
  type UnixSocketClientOptions,
  type UnixSocketServerOptions,
} from 'nestjs-unix-socket';
import { atEnd } from '../support/at-end.js';
import { recordedFrames, vectors, type ClientVector } from '../support/fixtures.js';
import { frame, RawPeer, type Address } from '../support/frames.js';
import { gone } from '../support/gone.js';
import { freeAddress, makeClient, startNestServer, TRANSPORTS } from '../support/nest-server.js';
import { until } from '../support/until.js';
import { heard, nextResponse, RawServer, request } from '../support/wire.js';

type V1Message = Readonly<Record<string, unknown>>;

const UNKNOWN = 'Unknown request type';
/** Where our server answers in its own words, or at all; in everything else it does what was recorded. */
const SERVER_BETTER: Readonly<Record<string, V1Message | 'closed'>> = {
  no_type: failure('r1', UNKNOWN),
  type_array: failure('r1', UNKNOWN),
  empty_type: failure('r1', UNKNOWN),
  // Sooner than an answer that a V2 client cannot read.
  v2_request: 'closed',
  v2_heartbeat: 'closed',
};

/** Where a request gave null or ended its client, ours says what happened. */
const CLIENT_BETTER: Readonly<Record<string, { result: unknown } | { error: object }>> = {
  v1_error_null_data: { error: { name: RemoteError.name, message: 'boom' } },
  v1_error_with_data_message: { error: { name: RemoteError.name, message: 'boom' } },
  v1_error_later: { error: { name: RemoteError.name, message: 'boom' } },
  v1_result_later: { result: { ok: 1 } },
  combined_greeting_v1_later: { error: { name: RemoteError.name, message: 'e' } },
};

function failure(id: unknown, text: string): V1Message {
  return { type: 'response', request_id: id, status: 'error', data: { message: text }, message: text };
}

function v1Request(id: string, type: string, data: unknown): Buffer {
  return frame({ type, request_id: id, data });
}

const events: unknown[] = [];

@Controller()
class EchoController {
  @MessagePattern('echo')
  echo(@Payload() data: unknown): object {
    return { echo: data };
  }

  @MessagePattern('count')
  count() {
    return interval(1).pipe(
      take(3),
      map((n) => n + 1),
    );
  }

  @MessagePattern('fails')
  fails(): never {
    throw new Error('boom');
  }

  @EventPattern('noted')
  noted(@Payload() data: unknown): void {
    events.push(data);
  }
}

describe.each(TRANSPORTS)('over %s', (transport) => {
  const start = (options: UnixSocketServerOptions = {}) =>
    startNestServer(
      { controllers: [EchoController] },
      { accountId: 'acc1', ...freeAddress(transport), ...options },
    );

  async function open(address: Address): Promise<RawPeer> {
    const peer = await RawPeer.connect(address);
    atEnd(() => peer.destroy());
    await peer.next();
    return peer;
  }

  const nextV1 = async (peer: RawPeer): Promise<V1Message> => (await peer.next()) as unknown as V1Message;

  describe('a server', () => {
    it.each(['v1', 'v2'] as const)('greets as recorded where it serves %s alone', async (version) => {
      const { address } = await start({ protocols: [version] });
      const peer = await open(address);
      const [recorded] = recordedFrames(version).filter(({ name }) => name === 'greeting');
      const [sent] = peer.received as unknown as V1Message[];
      expect(Object.keys(sent as object)).toEqual(Object.keys(recorded?.decoded as object));
      if (version === 'v1') expect(sent).toEqual(recorded?.decoded);
    });

    it.each([{ protocols: ['v1'] }, { protocols: ['v2', 'v1'] }] as const)(
      'does with every recorded frame of V1 what was recorded, or better: %j',
      async ({ protocols }) => {
        const { address } = await start({ protocols });
        const outcomes = await Promise.all(
          vectors('v1', 'server').map(async ({ name, hex, outcome, reply }) => {
            const peer = await open(address);
            // So that its version is known to a server of both.
            await peer.send(v1Request('first', 'ping', {}), Buffer.from(hex, 'hex'));
            await peer.next();
            const better = SERVER_BETTER[name];
            if (outcome === 'closed' || better === 'closed') {
              await gone(peer);
            } else {
              await peer.send(v1Request('last', 'ping', {}));
              await until(() => peer.received.some(({ request_id: id }) => id === 'last'));
            }
            const answers = peer.received.slice(2).filter(({ request_id: id }) => id !== 'last');
            const expected = better ?? reply;
            return {
              name,
              answers,
              expected: expected === undefined || expected === 'closed' ? [] : [expected],
            };
          }),
        );
        for (const { name, answers, expected } of outcomes)
          expect({ name, answers }).toEqual({ name, answers: expected });
        expect(outcomes.length).toBeGreaterThan(15);
      },
    );

    it('answers in the form that both V1 clients survive, at every cut of the stream', async () => {
      const { address, server } = await start();
      const peer = await open(address);
      const bytes = Buffer.concat([
        v1Request('a', 'echo', { text: '汉 😀' }),
        frame('{"type":"echo","request_id":"b","data":[NaN,-Infinity,"NaN"]}'),
        v1Request('c', 'fails', null),
        v1Request('d', 'count', null),
        v1Request('e', 'nothing', null),
      ]);
      peer.socket.setNoDelay(true);
      for (const byte of bytes) await peer.send(Buffer.from([byte]));
      await until(() => peer.received.length === 6);
      const answers = new Map(
        (peer.received.slice(1) as unknown as V1Message[]).map((one) => [one['request_id'], one]),
      );
      const good = (id: string, data: unknown) => ({
        type: 'response',
        request_id: id,
        status: 'success',
        data,
        message: '',
      });
      expect(answers.get('a')).toEqual(good('a', { echo: { text: '汉 😀' } }));
      expect(answers.get('b')).toEqual(good('b', { echo: [null, null, 'NaN'] }));
      expect(answers.get('c')).toEqual(failure('c', 'Internal server error'));
      expect(answers.get('d')).toEqual(good('d', 3));
      expect(answers.get('e')).toEqual(failure('e', UNKNOWN));
      expect(server.connections()[0]).toMatchObject({ protocolVersion: 'v1', isUpgraded: false });
      expect(server.getStats().connections[0]).toMatchObject({ version: 'v1' });
    });

    it('leaves "ping" to the application where that handles it, and repeats results in "message" if asked', async () => {
      const { address, server } = await start({ v1ResultInMessage: true });
      const peer = await open(address);
      await peer.send(v1Request('1', 'ping', {}));
      expect(await nextV1(peer)).toMatchObject({
        data: { status: 'ok' },
        message: { data: { status: 'ok' } },
      });
      server.handle('ping', () => 'mine');
      await peer.send(v1Request('2', 'ping', {}));
      expect(await nextV1(peer)).toMatchObject({ data: 'mine', message: { data: 'mine' } });
    });

    it('serves and pushes to clients of all kinds on one socket, each push once', async () => {
      const { address, server } = await start();
      const [v1, v2, silent] = [await open(address), await open(address), await open(address)];
      const ours = makeClient({ ...address });
      const pushes: unknown[] = [];
      ours.onPush('tick', (data) => void pushes.push(data));
      await v1.send(v1Request('1', 'echo', 1));
      await v2.send(request('2', 'echo', 2));
      expect(await nextV1(v1)).toMatchObject({ data: { echo: 1 } });
      expect(await nextResponse(v2, '2')).toMatchObject({ data: { echo: 2 } });
      expect(await ours.request('echo', Buffer.from([3]))).toEqual({ echo: Buffer.from([3]) });
      const versions = server.connections().map(({ protocolVersion }) => protocolVersion);
      expect(new Set(versions)).toEqual(new Set(['v1', 'v2', undefined]));

      expect(server.push('tick', { n: 1, bytes: Buffer.from([255]) })).toEqual({ recipients: 4, dropped: 0 });
      const tagged = { n: 1, bytes: { __bytes__: 'ff' } };
      const push = { type: 'tick', account_id: 'acc1', data: tagged };
      expect(await v1.next()).toEqual(push);
      expect(await v2.next()).toMatchObject({ msg_type: 'push', data: { type: 'tick', data: tagged } });
      const both = [await silent.next(), await silent.next()];
      expect(both[0]).toMatchObject({ msg_type: 'push', data: { type: 'tick', data: tagged } });
      expect(both[0]).not.toHaveProperty('type');
      expect(both[1]).toMatchObject({ ...push, msg_type: 'heartbeat', request_id: '', error: null });
      await until(() => pushes.length > 0);
      expect(pushes).toEqual([{ n: 1, bytes: Buffer.from([255]) }]);

      // What a V1 client would take for something else.
      expect(server.push('response', null)).toEqual({ recipients: 3, dropped: 1 });
      await heard(v2);
      await v1.send(v1Request('3', 'ping', {}));
      expect(await nextV1(v1)).toMatchObject({ request_id: '3' });
    });

    it('lets clients that have never said a word listen, so many of them', async () => {
      const { address, server } = await start({
        heartbeat: { timeoutMs: 60, intervalMs: 0 },
        maxSilentPeers: 1,
      });
      const listener = await open(address);
      const speaker = await open(address);
      await speaker.send(v1Request('1', 'ping', {}));
      await speaker.next();
      await gone(await open(address));
      const v2 = await open(address);
      await v2.send(request('1', 'echo', null));
      await gone(v2);
      await until(() => server.connectionCount === 2);
      server.push('tick', 1);
      expect(await listener.next()).toMatchObject({ msg_type: 'push' });
      expect(await speaker.next()).toMatchObject({ type: 'tick', data: 1 });
      expect(server.getStats().errorsByCode).toEqual({ PEER_SILENT: 2 });
    });

    it('gives silent clients the time that was set', async () => {
      const { address } = await start({ heartbeat: { timeoutMs: 0 }, silentPeerTimeoutMs: 50 });
      await gone(await open(address));
    });
  });

  describe('a client', () => {
    async function greeted(greeting: string, options: UnixSocketClientOptions = {}) {
      const server = await RawServer.listen(freeAddress(transport));
      atEnd(() => server.close());
      const client = makeClient({ ...server.address, reconnect: { enabled: false }, ...options });
      const ready = client.connect();
      ready.catch(() => undefined);
      const peer = await server.accept();
      await peer.send(frame(greeting));
      return { client, peer, server, ready };
    }

    const GREETING = '{"type": "register", "account_id": "acc1", "data": {"account_id": "acc1"}}';
    const rows = (['v1-first', 'v1-later'] as const)
      .flatMap((version) => vectors(version as 'v1', 'client'))
      .filter(({ name }) => name !== 'v2_greeting_to_v1_client');

    it.each(rows)(
      'makes of the recorded frames of $name what was recorded, or better',
      async (row: ClientVector) => {
        const { client, peer } = await greeted(row.greeting, { protocol: 'v1', accountId: 'acc1' });
        const pushes: unknown[] = [];
        client.pushes().subscribe(({ type, data }) => pushes.push([type, data]));
        const answer = client.request('any', { a: 1 }).then(
          (result) => ({ result }),
          (error: unknown) => ({ error }),
        );
        const sent = await peer.next();
        expect(sent).toEqual({ type: 'any', request_id: sent.request_id, data: { a: 1 } });
        await peer.send(...row.bodies.map((body) => frame(body.replace('@ID@', sent.request_id))));
        const better = CLIENT_BETTER[row.name] ?? { result: row.result };
        expect(await answer).toEqual(
          'error' in better ? { error: expect.objectContaining(better.error) } : better,
        );
        expect(pushes).toEqual(row.pushes);
        expect(client.isConnected()).toBe(true);
      },
    );

    it('refuses a V2 greeting where only V1 was asked for', async () => {
      const { ready } = await greeted(
        '{"msg_type":"response","request_id":"","data":{},"timestamp":"","error":null}',
        { protocol: 'v1', connectTimeoutMs: 100 },
      );
      await expect(ready).rejects.toMatchObject({ code: 'CONNECT_TIMEOUT' });
    });

    it('is told the version by the greeting, sends events as requests, and asks "ping" for its health', async () => {
      const { client, peer, ready } = await greeted(GREETING);
      await ready;
      expect(client.getStats()).toMatchObject({
        protocolVersion: 'v1',
        accountId: 'acc1',
        isUpgraded: false,
      });
      client.emit('noted', [1]);
      const event = await peer.next();
      expect(event).toEqual({ type: 'noted', request_id: event.request_id, data: [1] });
      const healthy = client.healthCheck();
      const ping = await peer.next();
      expect(ping).toMatchObject({ type: 'ping', data: {} });
      await peer.send(
        frame({ type: 'response', request_id: ping.request_id, status: 'success', data: {}, message: '' }),
      );
      expect(await healthy).toBe(true);
      expect(await client.healthCheck(30)).toBe(false);
    });

    it.each([
      ['a failure without a text', { status: 'error', data: null, message: '' }, 'Unknown error', undefined],
      ['a failure without data', { status: 'error', message: 'm' }, 'm', undefined],
      [
        'an unknown type',
        { status: 'error', data: null, message: '未注册的请求类型: x' },
        '未注册的请求类型: x',
        'UNKNOWN_PATTERN',
      ],
    ])('takes %s for what it is', async (_, fields, message, code) => {
      const { client, peer } = await greeted(GREETING);
      const answer = client.request('x', null);
      const { request_id: id } = await peer.next();
      await peer.send(frame({ type: 'response', request_id: null, status: 'error', message: 'x' }));
      await peer.send(frame({ type: 'response', request_id: id, ...fields }));
      await expect(answer).rejects.toMatchObject({
        name: RemoteError.name,
        message,
        ...(code ? { code } : {}),
      });
    });

    it('speaks V1 with a server of both where only V1 was asked for', async () => {
      const { address } = await start();
      const client = makeClient({ ...address, protocol: 'v1', accountId: 'acc1' });
      expect(await client.request('echo', { a: 1 })).toEqual({ echo: { a: 1 } });
      expect(await client.request('count', null)).toBe(3);
      expect(client.getStats()).toMatchObject({ protocolVersion: 'v1', isUpgraded: false });
    });

    it('refuses a V1 server of another account, and one whose greeting says nothing', async () => {
      const other = await greeted(GREETING, { accountId: 'acc2' });
      await expect(other.ready).rejects.toMatchObject({
        name: AccountMismatchError.name,
        code: 'ACCOUNT_MISMATCH',
        expected: 'acc2',
        actual: 'acc1',
        delivery: 'notSent',
      });
      const empty = await greeted('{"type": "register", "account_id": "acc1", "data": null}');
      await expect(empty.ready).rejects.toMatchObject({ name: MalformedFrameError.name });
      const none = await greeted('{"type": "tick", "data": 1}', { connectTimeoutMs: 50 });
      await expect(none.ready).rejects.toMatchObject({ code: 'CONNECT_TIMEOUT' });
    });

    it('sends no heartbeats to a V1 server, and does not take its silence for its end', async () => {
      const { client, peer, ready } = await greeted(GREETING, {
        heartbeat: { intervalMs: 5, timeoutMs: 20 },
      });
      await ready;
      await expect(peer.next(120)).rejects.toThrow('No frame');
      expect(client.isConnected()).toBe(true);
    });

    it('finds a V1 server of ours again after it was gone, and everything works through both', async () => {
      events.length = 0;
      const options = { protocols: ['v1'] as const, ...freeAddress(transport) };
      const first = await start(options);
      const client = makeClient({ ...first.address, accountId: 'acc1', reconnect: { initialDelayMs: 5 } });
      expect(await client.request('echo', { a: [1, null, '汉'] })).toEqual({ echo: { a: [1, null, '汉'] } });
      await first.app.close();
      const second = await start({ ...options, ...first.address });
      expect(await client.request('count', null)).toBe(3);
      await expect(client.request('fails', null)).rejects.toMatchObject({ message: 'Internal server error' });
      await expect(client.request('nothing', null)).rejects.toMatchObject({ code: 'UNKNOWN_PATTERN' });
      client.emit('noted', { n: 1 });
      await until(() => events.length > 0);
      expect(events).toEqual([{ n: 1 }]);
      const pushed = new Promise((resolve) => client.onPush('tick', resolve));
      second.server.push('tick', { n: 2 });
      expect(await pushed).toEqual({ n: 2 });
      expect(await client.healthCheck()).toBe(true);
      // Nobody there knows the tag, so it arrives as the object it is.
      expect(await client.request('echo', Buffer.from([1]))).toEqual({ echo: { __bytes__: '01' } });
    });
  });
});
