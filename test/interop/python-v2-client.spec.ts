import 'reflect-metadata';
import { setTimeout as delay } from 'node:timers/promises';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, EventPattern, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import {
  type ClientConnection,
  type UnixSocketServerOptions,
  UnixSocketContext,
  UnixSocketServer,
} from 'nestjs-unix-socket';
import { FaultProxy } from 'nestjs-unix-socket/testing';
import { concat, EMPTY, from, throwError, timer, map, take, type Observable } from 'rxjs';
import { atEnd } from '../support/at-end.js';
import { frame } from '../support/frames.js';
import { describeWithPython, driverAddress, unusedAddress } from '../support/python-endpoints.js';
import { PythonProcess, type Json, type ReceivedFrame } from '../support/python-process.js';
import { until } from '../support/until.js';

const FALSY: Record<string, unknown> = {
  zero: 0,
  false: false,
  null: null,
  empty_string: '',
  empty_array: [],
  empty_object: {},
};

const ECHOED: Json[] = [
  'plain text',
  '你好，世界',
  'émojis 😀👩‍👩‍👧‍👦 and \u2028 and \u007f',
  'quotes " and \\ and / and \u0000\u001f',
  { nested: [{ deeper: [[], {}, { a: [1, [2, [3]]] }] }, 'x'] },
  { '': 'empty key', 键: '值', __proto: 1, constructor: 2 },
  [0, 1, -1, 0.1, -0.5, 1e21, 1e-7, 1.7976931348623157e308, 5e-324, 9007199254740991, -9007199254740991],
  [null, true, false],
  null,
  0,
  '',
  [],
  {},
];

@Controller()
class PartsController {
  /** Calls of `hold` wait here until a test lets them go. */
  static held: (() => void)[] = [];
  static events: unknown[] = [];

  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    return data;
  }

  @MessagePattern('falsy')
  falsy(@Payload() { of }: { of: string }): unknown {
    return FALSY[of];
  }

  @MessagePattern('none')
  none(): void {
    // Completes without a value.
  }

  @MessagePattern('fail')
  fail(@Payload() message: string): never {
    throw new RpcException(message);
  }

  @MessagePattern('crash')
  crash(): never {
    throw new Error('not for the caller');
  }

  @MessagePattern('sleep')
  async sleep(@Payload() { ms }: { ms: number }): Promise<unknown> {
    await delay(ms);
    return { slept_ms: ms };
  }

  @MessagePattern('hold')
  hold(): Promise<string> {
    return new Promise((resolve) => PartsController.held.push(() => resolve('released')));
  }

  @MessagePattern('count_up')
  countUp(@Payload() to: number): Observable<number> {
    return timer(0, 1).pipe(
      take(to),
      map((n) => n + 1),
    );
  }

  @MessagePattern('no_items')
  noItems(): Observable<never> {
    return EMPTY;
  }

  @MessagePattern('breaks_off')
  breaksOff(): Observable<number> {
    return concat(
      from([1, 2]),
      throwError(() => new RpcException('broke off after two')),
    );
  }

  @MessagePattern('bytes')
  bytes(): unknown {
    return { top: Buffer.from('00ff10', 'hex'), deep: [{ typed: new Uint8Array([1, 2, 255]) }] };
  }

  @MessagePattern('is_buffer')
  isBuffer(@Payload() data: { tagged_bytes: unknown }): unknown {
    const { tagged_bytes: bytes } = data;
    return Buffer.isBuffer(bytes) ? bytes.toString('hex') : null;
  }

  @MessagePattern('push_me')
  pushMe(@Payload() { n }: { n: number }, @Ctx() context: UnixSocketContext): unknown {
    for (let i = 0; i < n; i++) context.getConnection().push('tick', { n: i });
    return { pushed: n };
  }

  @EventPattern('note')
  note(@Payload() data: unknown): void {
    PartsController.events.push(data);
  }
}

@Module({ controllers: [PartsController] })
class PartsModule {}

describeWithPython('A Python V2 client of a Nest server', (kind) => {
  beforeEach(() => {
    PartsController.held = [];
    PartsController.events = [];
  });

  /** For tests that leave no trace on the connection; the others make a pair of their own. */
  let pair: { readonly server: UnixSocketServer; readonly client: PythonProcess<'client'> };
  let endPair: (() => Promise<void>) | undefined;

  beforeAll(async () => {
    const { server, close } = await listen();
    const client = await PythonProcess.start('client', driverAddress(server.endpoint), {
      auto_reconnect: false,
    });
    endPair = async () => {
      await client.stop();
      await close();
    };
    await client.command('connect');
    pair = { server, client };
  });

  afterAll(() => endPair?.());

  async function listen(
    options: Partial<UnixSocketServerOptions> = {},
  ): Promise<{ server: UnixSocketServer; close: () => Promise<void> }> {
    const server = new UnixSocketServer({
      ...(await unusedAddress(kind)),
      accountId: 'parts',
      drainTimeoutMs: 1_000,
      ...options,
    });
    server.handle('text_fail', (text: string) => {
      throw new Error(text);
    });
    const app = await NestFactory.createMicroservice(PartsModule, { strategy: server, logger: false });
    await app.listen();
    const close = (): Promise<void> => {
      for (const release of PartsController.held) release();
      return app.close();
    };
    return { server, close };
  }

  async function serve(options?: Partial<UnixSocketServerOptions>): Promise<UnixSocketServer> {
    const { server, close } = await listen(options);
    atEnd(close);
    return server;
  }

  type ClientOptions = Parameters<typeof PythonProcess.start<'client'>>[2];

  async function startClient(address: string, options: ClientOptions = {}): Promise<PythonProcess<'client'>> {
    const client = await PythonProcess.start('client', address, { auto_reconnect: false, ...options });
    atEnd(() => client.stop());
    expect(await client.command('connect')).toEqual({ connected: true });
    return client;
  }

  async function connectedPair(
    serverOptions?: Partial<UnixSocketServerOptions>,
    clientOptions?: ClientOptions,
  ): Promise<{ server: UnixSocketServer; client: PythonProcess<'client'> }> {
    const server = await serve(serverOptions);
    return { server, client: await startClient(driverAddress(server.endpoint), clientOptions) };
  }

  const untilHeld = (count: number): Promise<void> => until(() => PartsController.held.length >= count);

  it('is greeted with the account and the id of its connection', async () => {
    const { server, client } = await connectedPair();
    await client.command('request', { type: 'echo' });
    const [greeting] = await client.command('frames');
    expect(greeting).toEqual({
      msg_type: 'response',
      request_id: '',
      data: expect.objectContaining({
        account_id: 'parts',
        conn_id: expect.stringMatching(/^[0-9a-f]{8}$/),
      }) as Json,
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/) as Json,
      error: null,
      // What a client of version 1 reads in the same frame.
      extra: { type: 'register', account_id: 'parts' },
    });
    const [connection] = server.connections();
    expect((greeting as ReceivedFrame).data).toMatchObject({ conn_id: connection?.id });
    expect(connection?.isUpgraded).toBe(false);
  });

  it('gets back whatever JSON it sends', async () => {
    const { client } = pair;
    const { answers } = await client.command('request_many', { type: 'echo', items: ECHOED });
    expect(answers.map((answer) => answer.response?.data)).toEqual(ECHOED);
    // Compared by Python itself, so without the way over this process's JSON.
    expect(answers.map((answer) => answer.same)).toEqual(ECHOED.map(() => true));
  });

  it('gets falsy results as they are, and null from a handler without a value', async () => {
    const { client } = pair;
    for (const [of, value] of Object.entries(FALSY)) {
      const { response } = await client.command('request', { type: 'falsy', data: { of } });
      expect(response).toMatchObject({ msg_type: 'response', data: value, error: null });
    }
    const { response } = await client.command('request', { type: 'none' });
    expect(response).toMatchObject({ data: null, error: null });
  });

  it('may send what only Python writes into JSON', async () => {
    const { client } = pair;
    const echoed = async (named: string): Promise<unknown> => {
      const { response } = await client.command('request', { type: 'echo', named });
      expect(response?.error).toBeNull();
      return response?.data;
    };
    expect(await echoed('nan')).toBeNull();
    // A bare NaN, which is no JSON at all.
    expect(await echoed('decimal_nan')).toBeNull();
    expect(await echoed('decimal')).toBe(1.1);
    expect(await echoed('tuple')).toEqual([1, 2]);
    expect(await echoed('text_bytes')).toBe('abc');
    expect(await echoed('datetime')).toBe('2024-01-02 03:04:05.000006');
    expect(await echoed('lone_surrogate')).toBe('\ud83d');
    expect(Object.entries((await echoed('odd_keys')) as object)).toContainEqual(['__proto__', 1]);
    const { failure } = await client.command('request', { type: 'echo', named: 'raw_bytes' });
    expect(failure).toMatch(/^Unicode/);
    // That failed in Python; the connection has not noticed.
    expect(await echoed('tuple')).toEqual([1, 2]);
  });

  it('hears the fixed text for every type that nothing handles', async () => {
    const { client } = pair;
    const types: Json[] = [
      'nope',
      '',
      '__proto__',
      'constructor',
      'toString',
      0,
      7,
      null,
      true,
      [],
      ['echo'],
      {},
    ];
    for (const type of types) {
      const { response } = await client.command('request', { type, data: 1, timeout: 2 });
      expect({ type, data: response?.data, error: response?.error }).toEqual({
        type,
        data: null,
        error: 'Unknown request type',
      });
    }
    expect((await client.command('request', { type: 'echo', data: 'alive' })).result).toBe('alive');
  });

  it('hears a failure as text, never as an empty one', async () => {
    const { client } = pair;
    const error = async (type: string, data: Json): Promise<unknown> => {
      const { response, result } = await client.command('request', { type, data });
      expect(response?.data).toBeNull();
      expect(result).toBeNull();
      return response?.error;
    };
    expect(await error('fail', 'out of 零件')).toBe('out of 零件');
    expect(await error('text_fail', 'its own text')).toBe('its own text');
    expect(await error('crash', null)).toBe('Internal server error');
    expect(await error('text_fail', '')).toEqual(expect.stringMatching(/./));
    expect(await error('fail', '')).toEqual(expect.stringMatching(/./));
  });

  it('gives up by its own timeout, ignores the late answer and goes on', async () => {
    const { client } = await connectedPair();
    const late = await client.command('request', { type: 'sleep', data: { ms: 80 }, timeout: 0.03 });
    expect(late).toMatchObject({ failure: 'timeout', response: null });
    const { result } = await client.command('request', { type: 'sleep', data: { ms: 80 } });
    expect(result).toEqual({ slept_ms: 80 });
    expect(await client.command('stats')).toMatchObject({ connected: true, frames: { response: 3 } });
  });

  it('has 200 requests at once answered, quick ones before slow ones', async () => {
    const { client, server } = pair;
    const many = await client.command('request_many', { type: 'echo', n: 200, brief: true });
    expect(many).toMatchObject({ same: 200, failures: 0, errors: 0 });

    const slow = client.command('request', { type: 'hold', timeout: 5 });
    await untilHeld(1);
    const quick = await client.command('request_many', { type: 'echo', n: 200, brief: true });
    expect(quick).toMatchObject({ same: 200, failures: 0 });
    expect(server.getStats().inFlight).toBe(1);
    PartsController.held[0]?.();
    expect((await slow).result).toBe('released');
  });

  it('has its requests handled in their order where the server says so', async () => {
    const { client } = await connectedPair({ handling: 'sequential' });
    // All written before the first is answered, so only the server decides on the order.
    const items = [40, 20, 0].map((ms) => ({ ms }));
    const { order, failures } = await client.command('request_many', { type: 'sleep', items });
    expect({ order, failures }).toEqual({ order: [0, 1, 2], failures: 0 });
  });

  it('gets broadcasts and pushes of its own in the order of sending', async () => {
    // The numbers of a kept room are nothing to such a client.
    const { client, server } = await connectedPair({ resume: { rooms: ['kept'] } });
    const other = await startClient(driverAddress(server.endpoint));
    await other.command('request', { type: 'echo' });
    const [first, second] = server.connections() as [ClientConnection, ClientConnection];
    for (const connection of [first, second]) connection.join('kept', 'other');
    const outcomes = Array.from({ length: 300 }, (_, n) =>
      [server, server.to('kept'), server.to('other', 'kept')][n % 3]!.push('tick', { n }),
    );
    expect(outcomes.every(({ recipients }) => recipients === 2)).toBe(true);
    first.push('own', '只给你');
    second.push('own', 'for the other');
    server.push('last', null);

    for (const [python, own] of [
      [client, '只给你'],
      [other, 'for the other'],
    ] as const) {
      await python.waitFor('push', { where: (event) => event.type === 'last' });
      expect(await python.command('pushes')).toEqual([
        ...Array.from({ length: 300 }, (_, n) => ({ type: 'tick', data: { n } })),
        { type: 'own', data: own },
        { type: 'last', data: null },
      ]);
    }
  });

  it('gets what a handler pushes before that handler’s answer', async () => {
    const { client } = await connectedPair();
    expect((await client.command('request', { type: 'push_me', data: { n: 20 } })).result).toEqual({
      pushed: 20,
    });
    const kinds = (await client.command('frames')).map(({ msg_type }) => msg_type);
    expect(kinds).toEqual(['response', ...Array<string>(20).fill('push'), 'response']);
  });

  it('exchanges 5 MB both ways, and gets 5 MB pushed', async () => {
    const { client, server } = pair;
    const answer = await client.command('request', {
      type: 'echo',
      fill: 5_000_000,
      brief: true,
      timeout: 10,
    });
    expect(answer).toMatchObject({ same: true, failure: null });
    expect(server.push('big', { text: '汉'.repeat(1_700_000) })).toEqual({ recipients: 1, dropped: 0 });
    const push = await client.waitFor('push', { where: ({ type }) => type === 'big' });
    expect((push.data as { text: string }).text).toHaveLength(1_700_000);
  });

  it('has heartbeats answered within a second while handlers run', async () => {
    const { client } = pair;
    const held = Array.from({ length: 50 }, () => client.command('request', { type: 'hold', timeout: 5 }));
    await untilHeld(50);
    const { answered_after_ms } = await client.command('heartbeat', { wait_ms: 1_000 });
    expect(answered_after_ms).toBeLessThan(1_000);
    for (const release of PartsController.held) release();
    for (const answer of await Promise.all(held)) expect(answer.result).toBe('released');
    const [heartbeat] = await client.command('frames', { msg_type: 'heartbeat' });
    expect(heartbeat).toMatchObject({ request_id: '', data: null, error: null, extra: {} });
  });

  it('has heartbeats answered while requests wait their turn', async () => {
    const { client } = await connectedPair({ handling: 'sequential' });
    const held = client.command('request_many', { type: 'hold', n: 3, timeout: 5 });
    await untilHeld(1);
    expect((await client.command('heartbeat', { wait_ms: 1_000 })).answered_after_ms).toBeLessThan(1_000);
    for (let n = 1; n <= 3; n++) {
      await untilHeld(n);
      PartsController.held[n - 1]?.();
    }
    expect((await held).failures).toBe(0);
  });

  it('does not notice the garbage on a neighbouring connection', async () => {
    const { client, server } = await connectedPair();
    const held = client.command('request', { type: 'hold', timeout: 5 });
    await untilHeld(1);
    const envelope = '"request_id":"1","data":null,"timestamp":"","error":null';
    const garbage = [
      frame(''),
      frame('{'),
      frame('[1]'),
      frame('null'),
      frame('{}'),
      frame(`{"msg_type":"REQUEST",${envelope}}`),
      frame(`{"msg_type":"shout",${envelope}}`),
      frame(Buffer.from('7b22ff227d', 'hex')),
      frame(`{"msg_type":"push",${envelope.replace('null', '{"__bytes__":"zz"}')}}`),
      Buffer.from('ffffffff7b7d', 'hex'),
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    ];
    for (const bytes of garbage) {
      const { frames, closed } = await client.command('send_raw', {
        hex: bytes.toString('hex'),
        wait_ms: 2_000,
        fresh: true,
      });
      expect({ bytes: bytes.toString('latin1'), frames, closed }).toEqual({
        bytes: bytes.toString('latin1'),
        frames: [],
        closed: true,
      });
    }
    PartsController.held[0]?.();
    expect((await held).result).toBe('released');
    expect(await client.command('stats')).toMatchObject({ connected: true, disconnects: 0 });
    const { errorsByCode, activeConnections } = server.getStats();
    expect(errorsByCode).toEqual({ MALFORMED_FRAME: 9, FRAME_TOO_LARGE: 2 });
    expect(activeConnections).toBe(1);
  });

  it('comes back after the server was restarted, and is served again', async () => {
    const address = await unusedAddress(kind);
    const before = await serve(address);
    const client = await startClient(driverAddress(address), {
      auto_reconnect: true,
      reconnect_interval: 0.05,
      look_interval: 0.02,
    });
    const pending = client.command('request', { type: 'hold', timeout: 0.4 });
    await untilHeld(1);
    const closing = before.close();
    PartsController.held[0]?.();
    // What ran when the server was told to close is still answered.
    expect((await pending).result).toBe('released');
    await closing;
    await client.waitFor('disconnect');
    await serve(address);
    await client.waitFor('connect', { count: 2 });
    expect((await client.command('request', { type: 'echo', data: 'again' })).result).toBe('again');
  });

  it('gets the last value of a stream, null for none, and the error of one that breaks off', async () => {
    const { client } = await connectedPair();
    const answer = async (type: string, data: Json): Promise<unknown> => {
      const { response } = await client.command('request', { type, data });
      return [response?.data, response?.error, Object.keys(response?.extra ?? {})];
    };
    expect(await answer('count_up', 5)).toEqual([5, null, []]);
    expect(await answer('no_items', null)).toEqual([null, null, []]);
    expect(await answer('breaks_off', null)).toEqual([null, 'broke off after two', ['error_detail']]);
    // One frame each, and the greeting.
    expect(await client.command('frames')).toHaveLength(4);
  });

  it('gets Buffers as bytes at any depth, and its tagged bytes arrive as a Buffer', async () => {
    const { client, server } = pair;
    const { result } = await client.command('request', { type: 'bytes' });
    // The driver shows what Python has as bytes under the tag; anything else would stand there as it came.
    expect(result).toEqual({ top: { __bytes__: '00ff10' }, deep: [{ typed: { __bytes__: '0102ff' } }] });
    expect((await client.command('request', { type: 'is_buffer', named: 'kinds' })).result).toBe('00ff10');
    server.push('bytes', [Buffer.from('ff', 'hex')]);
    const push = await client.waitFor('push', { where: ({ type }) => type === 'bytes' });
    expect(push.data).toEqual([{ __bytes__: 'ff' }]);
  });

  it('is answered after it has closed its sending side, also by a slow handler', async () => {
    const { client, server } = pair;
    for (const [type, data, result] of [
      ['echo', '你好', '你好'],
      ['sleep', { ms: 100 }, { slept_ms: 100 }],
      ['count_up', 3, 3],
    ] as [string, Json, Json][]) {
      const { greeting, response, closed } = await client.command('half_close', { type, data });
      expect(greeting).toMatchObject({ data: { account_id: 'parts' } });
      expect({ data: response?.data, closed }).toEqual({ data: result, closed: true });
    }
    await until(() => server.connectionCount === 1);
  });

  it('never sees an extension, but for the structure beside an error’s text', async () => {
    const { client, server } = await connectedPair({ heartbeat: { intervalMs: 20 } });
    const other = await startClient(driverAddress(server.endpoint));
    for (const type of ['echo', 'none', 'count_up', 'bytes', 'crash', 'nope', 'no_items']) {
      await client.command('request', { type, data: 3 });
    }
    server.push('tick', 1);
    server.connections()[0]?.push('own', 1);
    await client.command('heartbeat', { wait_ms: 1_000 });
    await client.command('send_raw', {
      // What a cancel and a probe would be between two of our own ends.
      hex: Buffer.concat([
        frame('{"msg_type":"error","request_id":"x","data":null,"timestamp":"","error":"cancelled"}'),
        frame('{"msg_type":"push","request_id":"x","data":{"type":"note","data":1},"timestamp":""}'),
      ]).toString('hex'),
    });
    await other.command('disconnect');
    await client.command('request', { type: 'echo' });
    const [greeting, ...frames] = await client.command('frames');
    expect(greeting?.extra).toEqual({ type: 'register', account_id: 'parts' });
    expect(frames.length).toBeGreaterThan(0);
    for (const seen of frames) {
      const allowed = seen.error === null ? {} : { error_detail: seen.extra['error_detail'] };
      expect(seen.extra).toEqual(allowed);
      expect(['response', 'push', 'heartbeat']).toContain(seen.msg_type);
    }
    expect(PartsController.events).toEqual([1]);
  });

  it('may leave a dead socket open behind it: it is reaped once it has been silent for too long', async () => {
    // It may drop out before it has sent a byte, and so look like a client of version 1, which is silent for ever.
    const { proxy, server, client } = await proxied({
      heartbeat: { timeoutMs: 300 },
      silentPeerTimeoutMs: 300,
    });
    // The first character of a body, so that the frame is no JSON: the client drops out and leaves the socket as it is.
    proxy.corrupt({ atByte: 4, mask: 1 }, 'toClient');
    await client.command('request', { type: 'echo', timeout: 0.05 });
    await client.waitFor('disconnect');
    proxy.clear();
    await client.waitFor('connect', { count: 2 });
    expect((await client.command('request', { type: 'echo', data: 'new' })).result).toBe('new');
    expect(server.connectionCount).toBe(2);

    const [connection, cause] = await nextDisconnect(server);
    expect(cause).toMatchObject({ name: 'PeerSilentError', timeoutMs: 300 });
    expect(server.connections()).not.toContain(connection);
    expect((await client.command('request', { type: 'echo', data: 'alive' })).result).toBe('alive');
    expect(server.connectionCount).toBe(1);
  });

  it('does not hold up the server’s close by keeping its own side open', async () => {
    const { client, server } = await connectedPair({ drainTimeoutMs: 5_000 });
    await client.command('request', { type: 'echo' });
    const started = performance.now();
    expect(await server.close()).toEqual({ cancelled: 0, unanswered: 0, unfinishedConnections: 0 });
    expect(performance.now() - started).toBeLessThan(2_000);
    await client.waitFor('disconnect');
  });

  it('may come back although it has disconnected, as the original does', async () => {
    const { client, server } = await connectedPair(
      {},
      { auto_reconnect: true, reconnect_interval: 0.05, look_interval: 0.02 },
    );
    await client.command('disconnect', { keep_reconnecting: true });
    await client.waitFor('connect', { count: 2 });
    expect((await client.command('request', { type: 'echo', data: 'again' })).result).toBe('again');
    expect(server.getStats()).toMatchObject({ totalConnections: 2, activeConnections: 1 });
  });

  it('may beat from several loops at once after quick reconnects', async () => {
    const { client, server } = await connectedPair(
      {},
      { auto_reconnect: true, reconnect_interval: 0.01, look_interval: 0.01, heartbeat_interval: 0.15 },
    );
    for (let count = 2; count <= 4; count++) {
      await client.command('request', { type: 'echo' });
      for (const connection of server.connections()) connection.close();
      await client.waitFor('connect', { count });
    }
    // Four loops beat where one would; each beat is answered and nobody is thrown out for it.
    await client.waitFor('heartbeat', { count: 8, timeoutMs: 1_500 });
    expect((await client.command('request', { type: 'echo', data: 1 })).result).toBe(1);
    expect(server.getStats().activeConnections).toBe(1);
  });

  async function proxied(
    options: Partial<UnixSocketServerOptions>,
  ): Promise<{ proxy: FaultProxy; server: UnixSocketServer; client: PythonProcess<'client'> }> {
    const server = await serve(options);
    const proxy = await FaultProxy.listen({
      listen: await unusedAddress(kind),
      target: server.endpoint as { path: string },
    });
    atEnd(() => proxy.close());
    const client = await startClient(driverAddress(proxy.endpoint), {
      auto_reconnect: true,
      reconnect_interval: 0.05,
      look_interval: 0.02,
      heartbeat_interval: 0.05,
    });
    return { proxy, server, client };
  }

  function nextDisconnect(server: UnixSocketServer): Promise<[ClientConnection, Error | undefined]> {
    return new Promise((resolve) => {
      server.on('disconnect', (connection, cause) => resolve([connection, cause]));
    });
  }
});
