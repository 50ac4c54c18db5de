import 'reflect-metadata';
import { setTimeout as delay } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import {
  UnixSocketClientProxy,
  UnixSocketRecordBuilder,
  type ReceivedPush,
  type UnixSocketClientOptions,
  type UnixSocketError,
} from 'nestjs-unix-socket';
import { lastValueFrom, toArray } from 'rxjs';
import { atEnd } from '../support/at-end.js';
import { frame, type Address } from '../support/frames.js';
import { describeWithPython, driverAddress, unusedAddress } from '../support/python-endpoints.js';
import { PythonProcess } from '../support/python-process.js';

Logger.overrideLogger(false);

type Server = PythonProcess<'server'>;
type ServerOptions = Parameters<typeof PythonProcess.start<'server'>>[2];

const QUICK_RECONNECT = { initialDelayMs: 20, maxDelayMs: 50 };

describeWithPython('A Nest client of a Python V2 server', (kind) => {
  /** For tests that leave no trace on the connection; the others make a pair of their own. */
  let pair: { readonly server: Server; readonly client: UnixSocketClientProxy };

  beforeAll(async () => {
    const address = await unusedAddress(kind);
    const server = await PythonProcess.start('server', driverAddress(address));
    pair = { server, client: makeClient(address) };
    await server.command('start');
  });

  afterAll(async () => {
    await pair?.client.close();
    await pair?.server.stop();
  });

  async function startServer(
    options: ServerOptions = {},
    given?: Address,
  ): Promise<{ server: Server; address: Address }> {
    const address = given ?? (await unusedAddress(kind));
    const server = await PythonProcess.start('server', driverAddress(address), options);
    atEnd(() => server.stop());
    await server.command('start');
    return { server, address };
  }

  function makeClient(
    address: Address,
    options: Partial<UnixSocketClientOptions> = {},
  ): UnixSocketClientProxy {
    return new UnixSocketClientProxy({
      ...address,
      reconnect: QUICK_RECONNECT,
      drainTimeoutMs: 0,
      ...options,
    });
  }

  function connectTo(
    address: Address,
    options: Partial<UnixSocketClientOptions> = {},
  ): UnixSocketClientProxy {
    const client = makeClient(address, options);
    atEnd(() => client.close());
    return client;
  }

  async function connectedPair(
    options: Partial<UnixSocketClientOptions> = {},
    serverOptions?: ServerOptions,
  ): Promise<{ server: Server; client: UnixSocketClientProxy; address: Address }> {
    const { server, address } = await startServer(serverOptions);
    const client = connectTo(address, options);
    await client.connect();
    return { server, client, address };
  }

  const failure = (call: Promise<unknown>): Promise<UnixSocketError> =>
    call.then(
      (value) => {
        throw new Error(`No failure but ${JSON.stringify(value)}`);
      },
      (error: UnixSocketError) => error,
    );

  it('reads the greeting and takes the server for a plain one', async () => {
    const { client, server } = await connectedPair({}, { account_id: '账户' });
    const { conn_id } = await server.waitFor('connect');
    expect(client.getStats()).toMatchObject({
      state: 'ready',
      accountId: '账户',
      connectionId: conn_id,
      isUpgraded: false,
    });
  });

  it('gets back whatever JSON it sends', async () => {
    const { client } = pair;
    const values: unknown[] = [
      'plain text',
      '你好，世界',
      'émojis 😀👩‍👩‍👧‍👦 and \u2028 and \u007f',
      'lone \ud83d surrogate',
      'quotes " and \\ and / and \u0000\u001f',
      { nested: [{ deeper: [[], {}, { a: [1, [2, [3]]] }] }, 'x'], 键: '值' },
      [0, 1, -1, 0.1, -0.5, 1e21, 1e-7, 1.7976931348623157e308, 5e-324, 9007199254740991],
      JSON.parse('{"__proto__":{"x":1},"constructor":2}'),
      [null, true, false],
      null,
      0,
      false,
      '',
      [],
      {},
    ];
    const echoes = await Promise.all(values.map((value) => client.request('echo', value)));
    expect(echoes).toEqual(values);
    expect(await lastValueFrom(client.send('echo', '你好').pipe(toArray()))).toEqual(['你好']);
  });

  it('gets falsy results as they are, and null from a handler without a value', async () => {
    const { client } = pair;
    const results = await Promise.all(
      ['zero', 'false', 'null', 'empty_string', 'empty_array', 'empty_object'].map((of) =>
        client.request('falsy', { of }),
      ),
    );
    expect(results).toEqual([0, false, null, '', [], {}]);
    expect(await lastValueFrom(client.send('none', null).pipe(toArray()))).toEqual([null]);
  });

  it('reads what only Python writes into JSON', async () => {
    const { client } = pair;
    const named = (of: string): Promise<unknown> => client.request('named', { of });
    expect(await named('nan')).toBeNull();
    // A bare NaN, which is no JSON at all.
    expect(await named('decimal_nan')).toBeNull();
    expect(await named('decimal')).toBe(1.1);
    expect(await named('tuple')).toEqual([1, 2]);
    expect(await named('namedtuple')).toEqual({ x: 1, y: 2 });
    expect(await named('datetime')).toBe('2024-01-02 03:04:05.000006');
    expect(await named('lone_surrogate')).toBe('\ud83d');
    expect(Object.entries((await named('odd_keys')) as object)).toContainEqual(['__proto__', 1]);
  });

  it('fails with the server’s text, and knows an unknown type by it', async () => {
    const { client } = pair;
    expect(await failure(client.request('nope', 1))).toMatchObject({
      name: 'RemoteError',
      code: 'UNKNOWN_PATTERN',
      message: 'Unknown request type',
      delivery: 'replied',
    });
    expect(await failure(client.request('fail', '零件 out'))).toMatchObject({
      code: 'REMOTE_ERROR',
      message: '零件 out',
      payload: { status: 'error', message: '零件 out' },
    });
    expect((await failure(client.request('fail_key', null))).message).toBe("'k'");
    // An empty error counts as success among these peers.
    expect(await client.request('fail', '')).toBeNull();
  });

  it('times out, ignores the late answer and goes on', async () => {
    const { client } = await connectedPair({ requestTimeoutMs: 60 });
    const late = failure(client.request('sleep', { ms: 150 }));
    expect(await late).toMatchObject({ name: 'RequestTimeoutError', delivery: 'sentNoReply' });
    // The server runs one request at a time, so this one waits for the first.
    expect(await client.request('echo', 'next', { timeoutMs: 2_000 })).toBe('next');
    expect(client.getStats()).toMatchObject({ pending: 0, timeouts: 1, reconnects: 0 });
  });

  it('has 200 requests at once answered, each with its own answer', async () => {
    const { client } = pair;
    const sent = Array.from({ length: 200 }, (_, i) => ({ i }));
    expect(await Promise.all(sent.map((data) => client.request('echo', data)))).toEqual(sent);
  });

  it('gets pushes in order, and may make a request while it handles one', async () => {
    const { client, server } = await connectedPair();
    const pushes: ReceivedPush[] = [];
    const echoes: unknown[] = [];
    client.pushes().subscribe((push) => void pushes.push(push));
    const isDone = new Promise<void>((resolve) => {
      client.onPush('last', async (data) => {
        echoes.push(await client.request('echo', data));
        resolve();
      });
    });
    await client.request('push_me', { n: 100 });
    // They came before the answer, and in order.
    expect(pushes.map(({ type, data }) => [type, data])).toEqual(
      Array.from({ length: 100 }, (_, n) => ['tick', { n }]),
    );
    await server.command('push', { type: 'last', data: '你好' });
    await isDone;
    expect(echoes).toEqual(['你好']);
  });

  it('exchanges 5 MB both ways, and gets 5 MB pushed', async () => {
    const { client, server } = pair;
    const text = '汉'.repeat(1_700_000);
    expect((await client.request('echo', text)) === text).toBe(true);
    const pushed = lastPush(client);
    await server.command('push', { type: 'big', fill: 5_000_000 });
    expect(((await pushed).data as { text: string }).text).toHaveLength(5_000_000);
  });

  it('beats, so that the server does not cut it, and hears the answers', async () => {
    const { client, server } = await connectedPair(
      { heartbeat: { intervalMs: 40 } },
      { heartbeat_timeout: 0.2, look_interval: 0.05 },
    );
    // Requests do not count for this server, only heartbeats.
    await server.waitFor('heartbeat', { count: 8 });
    expect(server.events.filter(({ event }) => event === 'disconnect')).toEqual([]);
    expect(await client.healthCheck(1_000)).toBe(true);
    expect(client.getStats()).toMatchObject({ state: 'ready', reconnects: 0 });
  });

  it('does not answer the server’s own heartbeats', async () => {
    const { client, server } = await connectedPair();
    for (let n = 0; n < 3; n++) await server.command('heartbeat');
    await client.request('echo', 1);
    expect((await server.command('stats')).frames).toEqual({ request: 1 });
  });

  it('does not take a server for dead that is busy with one of its requests', async () => {
    const { client } = await connectedPair({ heartbeat: { intervalMs: 20, timeoutMs: 80 } });
    const lost = jest.fn();
    client.on('disconnect', lost);
    expect(await client.request('sleep', { ms: 250 })).toEqual({ slept_ms: 250 });
    // Nor when nobody waits for the answer any more, or the work came as an event.
    await failure(client.request('sleep', { ms: 200 }, { timeoutMs: 30 }));
    await lastValueFrom(client.emit('sleep', { ms: 200 }));
    expect(await client.request('echo', 'alive')).toBe('alive');
    expect(lost).not.toHaveBeenCalled();
  });

  it('takes an idle server for dead that answers no heartbeat', async () => {
    const { client, server } = await connectedPair({ heartbeat: { intervalMs: 30, timeoutMs: 200 } });
    await client.request('echo', 1);
    const { pid } = await server.waitFor('ready');
    const lost = new Promise((resolve) => client.on('disconnect', resolve));
    process.kill(pid as number, 'SIGSTOP');
    // With a request outstanding it might be at work.
    const pending = client.request('echo', 2);
    await delay(350);
    expect(client.isConnected()).toBe(true);
    process.kill(pid as number, 'SIGCONT');
    expect(await pending).toBe(2);

    process.kill(pid as number, 'SIGSTOP');
    expect(await lost).toMatchObject({ name: 'PeerSilentError', timeoutMs: 200 });
    process.kill(pid as number, 'SIGCONT');
    expect(await client.request('echo', 'back')).toBe('back');
  });

  it('connects to a server that comes later, and comes back after it was restarted', async () => {
    const address = await unusedAddress(kind);
    const client = connectTo(address);
    const early = client.request('echo', 'early');
    const { server } = await startServer({}, address);
    expect(await early).toBe('early');

    const pending = failure(client.request('sleep', { ms: 5_000 }));
    const repeated = lastValueFrom(
      client.send('echo', new UnixSocketRecordBuilder('kept').setIdempotent(true).build()),
    );
    await server.waitFor('request', { where: ({ type }) => type === 'sleep' });
    await server.command('stop', { waits: false });
    expect(await pending).toMatchObject({ name: 'ConnectionLostError', delivery: 'sentNoReply' });
    await server.command('start');
    expect(await repeated).toBe('kept');
    expect(await client.request('echo', 'again')).toBe('again');
    expect(client.getStats()).toMatchObject({ reconnects: 1, repeated: 1 });
  });

  it('comes back when the server’s process was killed', async () => {
    const { client, server, address } = await connectedPair();
    const { pid } = await server.waitFor('ready');
    const pending = failure(client.request('sleep', { ms: 5_000 }));
    await server.waitFor('request');
    process.kill(pid as number, 'SIGKILL');
    expect(await pending).toMatchObject({ name: 'ConnectionLostError', delivery: 'sentNoReply' });
    await startServer({}, address);
    expect(await client.request('echo', 'again')).toBe('again');
  });

  it('sends an event as a request, since this server ignores pushes', async () => {
    const { client, server, address } = await connectedPair();
    await lastValueFrom(client.emit('count', { price: 1 }), { defaultValue: undefined });
    expect(await client.request('count', null)).toBe(2);
    // Whatever the handler makes of it, an event has no answer.
    await lastValueFrom(client.emit('fail', 'unheard'), { defaultValue: undefined });

    const pushing = connectTo(address, { eventsAs: 'push' });
    await lastValueFrom(pushing.emit('count', { price: 2 }), { defaultValue: undefined });
    await server.waitFor('push');
    expect(await client.request('count', null)).toBe(3);
    const received = await server.command('received', { msg_type: null });
    expect(received.map(({ msg_type, type, extra }) => [msg_type, type, extra])).toEqual([
      ['request', 'count', {}],
      ['request', 'count', {}],
      ['request', 'fail', {}],
      ['push', 'count', {}],
      ['request', 'count', {}],
    ]);
  });

  it('sends Buffers that arrive as bytes, at any depth', async () => {
    const { client } = pair;
    expect(await client.request('bytes_len', Buffer.from('00ff10', 'hex'))).toEqual({
      length: 3,
      hex: '00ff10',
    });
    expect(await client.request('bytes_len', new Uint16Array([1]))).toEqual({ length: 2, hex: '0100' });
    // Python sends bytes back as text if they are UTF-8.
    expect(await client.request('echo', { deep: [Buffer.from('你好')] })).toEqual({ deep: ['你好'] });
  });

  it('never sends an extension: no hello, no probe, no deadline, no cancel', async () => {
    const { client, server } = await connectedPair({ heartbeat: { intervalMs: 20 } });
    await failure(client.request('sleep', { ms: 50 }, { timeoutMs: 20 }));
    await failure(client.request('sleep', { ms: 50 }, { signal: AbortSignal.timeout(20) }));
    client.send('sleep', { ms: 1 }).subscribe().unsubscribe();
    await client.healthCheck();
    await lastValueFrom(client.emit('echo', 1), { defaultValue: undefined });
    await client.request('echo', null, { timeoutMs: 1_000 });
    await server.waitFor('heartbeat', { count: 3 });
    const received = await server.command('received', { msg_type: null });
    expect(received.length).toBeGreaterThan(7);
    for (const { msg_type, extra } of received) {
      expect(extra).toEqual({});
      expect(['request', 'heartbeat']).toContain(msg_type);
    }
  });

  it('drops a connection on which the server sends garbage, and makes a new one', async () => {
    const { client, server } = await connectedPair();
    for (const [bytes, code] of [
      [frame('{'), 'MALFORMED_FRAME'],
      [frame('{"msg_type":"register","type":"register","request_id":"","data":null}'), 'MALFORMED_FRAME'],
      [Buffer.from('ffffffff', 'hex'), 'FRAME_TOO_LARGE'],
    ] as [Buffer, string][]) {
      const lost = new Promise((resolve) => client.on('disconnect', resolve));
      await client.request('echo', 1);
      await server.command('send_raw', { hex: bytes.toString('hex') });
      expect(await lost).toMatchObject({ code });
    }
    expect(await client.request('echo', 'again')).toBe('again');
    expect(client.getStats().reconnects).toBe(3);
  });

  it('ignores unknown, second and late answers, and frames that are not for it', async () => {
    const { client, server } = await connectedPair();
    const body = (msgType: string, id: unknown): Buffer =>
      frame({ msg_type: msgType, request_id: id, data: null, timestamp: null, error: 'no' });
    const hex = Buffer.concat([
      body('response', 'unknown'),
      body('response', ''),
      body('response', 7),
      body('response', null),
      body('request', 'x'),
      body('error', 'x'),
      body('error', ''),
      body('heartbeat', 'x'),
      body('push', 'x'),
    ]).toString('hex');
    await server.command('send_raw', { hex });
    expect(await client.request('echo', 'alive')).toBe('alive');
    expect(client.getStats().reconnects).toBe(0);
  });

  it('gets over a push that the server could not encode', async () => {
    const { client, server } = await connectedPair();
    await client.request('count', null);
    // From now on the server sends nothing on this connection, carries requests out and then closes it.
    expect(await server.command('push', { type: 'tick', named: 'raw_bytes' })).toEqual({ sent: 0 });
    expect(await failure(client.request('count', null))).toMatchObject({
      name: 'ConnectionLostError',
      delivery: 'sentNoReply',
    });
    expect(await client.request('count', null)).toBe(3);
  });

  it('gets over a server that stops by waiting for its clients to leave', async () => {
    const { client, server } = await connectedPair({}, { stop_waits: true });
    await client.request('echo', 1);
    const lost = new Promise((resolve) => client.on('disconnect', resolve));
    const stopping = server.command('stop');
    // It has stopped accepting, but an idle client sees nothing; the next request is still answered.
    await delay(50);
    expect(client.isConnected()).toBe(true);
    expect(await client.request('echo', 'last')).toBe('last');
    await stopping;
    // What the server tells us of its stop may be read before the end of the connection is.
    await lost;
    const next = client.request('echo', 'first');
    await server.command('start');
    expect(await next).toBe('first');
  });

  it('is cut off without a word, and comes back', async () => {
    const { client, server } = await connectedPair();
    await client.request('echo', 1);
    const lost = new Promise((resolve) => client.on('disconnect', resolve));
    expect(await server.command('drop')).toEqual({ dropped: 1 });
    expect(await lost).toMatchObject({ name: 'ConnectionLostError' });
    expect(await client.request('echo', 2)).toBe(2);
  });
});

function lastPush(client: UnixSocketClientProxy): Promise<ReceivedPush> {
  return new Promise((resolve) => client.pushes().subscribe(resolve));
}
