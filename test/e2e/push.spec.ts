import 'reflect-metadata';
import { Controller, Inject, Injectable, Logger, Module } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { lastValueFrom } from 'rxjs';
import {
  ConnectionClosedError,
  EncodeError,
  InjectUnixSocketClient,
  RemoteError,
  UnixSocketClientProxy,
  UnixSocketContext,
  UnixSocketModule,
  UnixSocketRecordBuilder,
  UnixSocketServer,
  type ClientConnection,
  type ReceivedPush,
  type UnixSocketClientOptions,
  type UnixSocketServerOptions,
} from 'nestjs-unix-socket';
import { frame, RawPeer, tempSocketPath } from '../support/frames.js';
import { LogSpy } from '../support/log-spy.js';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

@Controller()
class RoomsController {
  @MessagePattern('join')
  join(@Payload() rooms: string[], @Ctx() context: UnixSocketContext): string {
    context.getConnection().join(...rooms);
    return context.getConnection().id;
  }

  @MessagePattern('leave')
  leave(@Payload() rooms: string[], @Ctx() context: UnixSocketContext): string[] {
    context.getConnection().leave(...rooms);
    return [...context.getConnection().rooms];
  }

  @EventPattern('work')
  async work(@Payload() data: { fail?: true | string }): Promise<void> {
    await new Promise(setImmediate);
    if (data.fail === true) throw new RpcException({ code: 'BROKEN', message: 'it broke' });
    if (data.fail !== undefined) throw new Error(data.fail);
    worked.push(data);
  }
}

const worked: unknown[] = [];

type ListenOn = { path: string } | { host: string; port: number };

async function startServer(
  endpoint: ListenOn,
  options: Partial<UnixSocketServerOptions> = {},
): Promise<UnixSocketServer> {
  const server = new UnixSocketServer({ drainTimeoutMs: 500, ...options, ...endpoint });
  const module = await Test.createTestingModule({ controllers: [RoomsController] }).compile();
  const app = module.createNestMicroservice({ strategy: server, logger: false });
  await app.listen();
  closers.push(() => app.close());
  return server;
}

interface TestClient {
  readonly proxy: UnixSocketClientProxy;
  readonly pushes: ReceivedPush[];
  /** Resolves once every push written before it has been handled. */
  settle(): Promise<void>;
  join(...rooms: string[]): Promise<string>;
}

async function startClient(
  server: UnixSocketServer,
  options: Partial<UnixSocketClientOptions> = {},
): Promise<TestClient> {
  const proxy = new UnixSocketClientProxy({ ...(server.endpoint as ListenOn), ...options });
  closers.push(() => proxy.close());
  const pushes: ReceivedPush[] = [];
  proxy.pushes().subscribe((push) => pushes.push(push));
  await proxy.connect();
  return {
    proxy,
    pushes,
    async settle() {
      await proxy.request('leave', []);
      await new Promise(setImmediate);
    },
    join: (...rooms) => proxy.request('join', rooms),
  };
}

const ENDPOINTS: readonly [string, () => ListenOn][] = [
  ['Unix socket', () => ({ path: tempSocketPath() })],
  ['TCP', () => ({ host: '127.0.0.1', port: 0 })],
];

describe.each(ENDPOINTS)('push over %s', (_name, endpoint) => {
  it('reaches rooms, connections, accounts and whom a function chooses; each client once', async () => {
    const server = await startServer(endpoint());
    const [a, b, c] = [
      await startClient(server, { accountId: 'one' }),
      await startClient(server, { accountId: 'two' }),
      await startClient(server, { accountId: 'two' }),
    ];
    await a.join('red');
    const idB = await b.join('red', 'blue');
    await c.join('blue');
    const connectionB = server.connection(idB) as ClientConnection;

    expect(server.to('red', 'blue').push('both rooms', 1)).toEqual({ recipients: 3, dropped: 0 });
    expect(server.to('red').except(connectionB).push('red but b', 2).recipients).toBe(1);
    expect(server.to(connectionB).push('b alone', 3).recipients).toBe(1);
    expect(server.to({ accountId: 'two' }).push('account two', 4).recipients).toBe(2);
    expect(server.to((connection) => connection.rooms.size === 2).push('in two rooms', 5).recipients).toBe(1);
    expect(server.except('blue').push('not blue', 6).recipients).toBe(1);
    expect(server.to('nobody').push('empty room', 7)).toEqual({ recipients: 0, dropped: 0 });
    const kept = server.to('red');
    kept.except('blue');
    expect(kept.push('an operator never changes', 8).recipients).toBe(2);

    for (const client of [a, b, c]) await client.settle();
    expect(a.pushes.map(({ data }) => data)).toEqual([1, 2, 6, 8]);
    expect(b.pushes.map(({ data }) => data)).toEqual([1, 3, 4, 5, 8]);
    expect(c.pushes.map(({ data }) => data)).toEqual([1, 4]);
  });

  it('carries metadata beside the payload', async () => {
    const server = await startServer(endpoint());
    const client = await startClient(server);
    server.push('priced', { price: 1 }, { meta: { trace: 'abc' } });
    await client.settle();
    expect(client.pushes).toEqual([{ type: 'priced', data: { price: 1 }, meta: { trace: 'abc' } }]);
  });

  it('ends memberships with the connection, and refuses to join after it', async () => {
    const server = await startServer(endpoint());
    const client = await startClient(server);
    const connection = server.connection(await client.join('red')) as ClientConnection;
    const gone = new Promise((resolve) => server.on('disconnect', resolve));
    await client.proxy.close();
    await gone;
    expect(connection.rooms.size).toBe(0);
    expect(server.to('red').push('to nobody', 1).recipients).toBe(0);
    expect(() => connection.join('red')).toThrow(ConnectionClosedError);
    expect(connection.push('late', 1)).toEqual({ recipients: 0, dropped: 0 });
  });

  it('leaves nobody with half a push when its data cannot be encoded', async () => {
    const server = await startServer(endpoint());
    const client = await startClient(server);
    const circular: Record<string, unknown> = {};
    circular['self'] = circular;
    expect(() => server.push('circular', circular)).toThrow(EncodeError);
    expect(() => server.push('nothing', undefined)).toThrow(EncodeError);
    server.push('good', 1);
    await client.settle();
    expect(client.pushes.map(({ type }) => type)).toEqual(['good']);
  });

  it('acknowledges an event once its handlers have finished, or with their error', async () => {
    const server = await startServer(endpoint());
    const client = await startClient(server);
    const acknowledged = (data: unknown) =>
      lastValueFrom(client.proxy.emit('work', new UnixSocketRecordBuilder(data).setAck().build()));
    worked.length = 0;
    await acknowledged({ n: 1 });
    expect(worked).toEqual([{ n: 1 }]);
    const failure = await acknowledged({ fail: true }).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(RemoteError);
    expect(failure).toMatchObject({ code: 'BROKEN', message: 'it broke', delivery: 'replied' });
    await expect(acknowledged({ n: 2 })).resolves.toBeUndefined();
    await expect(
      lastValueFrom(client.proxy.emit('nobody.listens', new UnixSocketRecordBuilder(1).setAck().build())),
    ).rejects.toMatchObject({ code: 'UNKNOWN_PATTERN' });
  });

  it('counts and logs a failed handler of an event once, whether or not its sender asked', async () => {
    const server = await startServer(endpoint());
    const client = await startClient(server);
    const logs = new LogSpy();
    Logger.overrideLogger(logs);
    closers.push(() => Logger.overrideLogger(false));
    await lastValueFrom(client.proxy.emit('work', { fail: true }), { defaultValue: undefined });
    const acknowledged = new UnixSocketRecordBuilder({ fail: 'unforeseen' }).setAck().build();
    await expect(lastValueFrom(client.proxy.emit('work', acknowledged))).rejects.toMatchObject({
      message: 'Internal server error',
    });
    expect(server.getStats().errorsByCode).toEqual({ EVENT_FAILED: 2 });
    expect(logs.about('it broke')).toEqual(['error The handler of the event "work" failed: it broke']);
    expect(logs.about('unforeseen')).toHaveLength(1);
  });
});

describe('a client that does not read', () => {
  // Two of these fit into what the kernel holds for a socket.
  const filler = 'x'.repeat(64 * 1024);

  /** A client that has joined `prices` and then stopped reading. */
  async function stalled(server: UnixSocketServer): Promise<RawPeer> {
    const peer = await RawPeer.connect(server.endpoint as { path: string });
    closers.push(() => peer.destroy());
    await peer.next();
    await peer.send(
      frame({
        msg_type: 'request',
        request_id: 'j',
        data: { type: 'join', data: ['prices'] },
        timestamp: '',
        error: null,
      }),
    );
    await peer.next();
    peer.socket.pause();
    return peer;
  }

  it('holds up nobody else, is reported, and gets the latest value of each key when it reads again', async () => {
    const server = await startServer({ path: tempSocketPath() });
    const slow = await stalled(server);
    const quick = await startClient(server);
    await quick.join('prices');
    const reported = new Promise<ClientConnection>((resolve) => server.on('slowConsumer', resolve));

    server.setRoomPolicy('prices', 'latest');
    for (let i = 0; i < 200; i++) {
      server.to('prices').push('price', { i, filler }, { key: `symbol ${i % 4}` });
      if (i % 2 === 1) await quick.settle();
    }
    await quick.settle();
    expect(quick.pushes).toHaveLength(200);
    expect((await reported).isUpgraded).toBe(false);
    const stats = server.getStats();
    expect(stats.slowConsumers).toBeGreaterThan(0);
    expect(stats.pushesDropped).toBeGreaterThan(100);
    expect(Math.max(...stats.connections.map(({ queuedBytes }) => queuedBytes))).toBeLessThan(1024 * 1024);

    slow.socket.resume();
    const latest = new Map<number, number>();
    const numbers: number[] = [];
    while (latest.size < 4 || [...latest.values()].some((i) => i < 196)) {
      const { data } = (await slow.next()) as unknown as { data: { data: { i: number } } };
      const { i } = data.data;
      expect(i).toBeGreaterThan(latest.get(i % 4) ?? -1);
      latest.set(i % 4, i);
      numbers.push(i);
    }
    expect([...latest.values()].sort((a, b) => a - b)).toEqual([196, 197, 198, 199]);
    expect(numbers.length).toBeLessThan(200);
  });

  it('costs many others none of their pushes, and the server no more than its cap', async () => {
    const maxSendQueueBytes = 256 * 1024;
    const server = await startServer({ path: tempSocketPath() }, { maxSendQueueBytes });
    const quick = await Promise.all(Array.from({ length: 20 }, () => startClient(server)));
    await Promise.all(quick.map((client) => client.join('prices')));
    for (let i = 0; i < 3; i++) await stalled(server);
    for (let i = 0; i < 40; i++) {
      server.to('prices').push('price', { i, filler }, { policy: 'dropOldest' });
      for (const { queuedBytes } of server.getStats().connections)
        expect(queuedBytes).toBeLessThanOrEqual(maxSendQueueBytes);
      await Promise.all(quick.map((client) => client.settle()));
    }
    const all = Array.from({ length: 40 }, (_, i) => i);
    for (const { pushes } of quick) expect(pushes.map(({ data }) => (data as { i: number }).i)).toEqual(all);
    expect(server.getStats().pushesDropped).toBeGreaterThan(3);
    expect(server.connectionCount).toBe(23);
  });

  it('is disconnected past the cap by default, and keeps its connection where pushes may be dropped', async () => {
    const server = await startServer({ path: tempSocketPath() }, { maxSendQueueBytes: 512 * 1024 });
    const [first, second] = [await stalled(server), await stalled(server)];
    const gone = new Promise((resolve) => server.on('disconnect', (_connection, cause) => resolve(cause)));
    for (let i = 0; i < 100; i++) server.to('prices').push('p', filler, { policy: 'dropOldest' });
    for (let i = 0; i < 100; i++) server.to('prices').push('p', filler, { policy: 'dropNewest' });
    for (let i = 0; i < 100; i++) server.to('prices').push('p', filler, { policy: 'volatile' });
    expect(server.connectionCount).toBe(2);
    for (let i = 0; i < 100; i++) server.to('prices').push('p', filler);
    expect(await gone).toMatchObject({ code: 'SEND_QUEUE_FULL' });
    first.socket.resume();
    second.socket.resume();
    await Promise.all([first.ended, second.ended]);
    expect(server.connectionCount).toBe(0);
  });
});

describe('UnixSocketModule', () => {
  it('gives the server to any service, and clients by name that are closed with the app', async () => {
    const path = tempSocketPath();

    @Module({ providers: [{ provide: 'PATH', useValue: path }], exports: ['PATH'] })
    class PathModule {}

    @Injectable()
    class Feed {
      constructor(
        @Inject(UnixSocketServer) readonly server: UnixSocketServer,
        @InjectUnixSocketClient('desk') readonly desk: UnixSocketClientProxy,
        @InjectUnixSocketClient('later') readonly later: UnixSocketClientProxy,
      ) {}
    }

    @Module({
      imports: [
        UnixSocketModule.forRootAsync({ useFactory: () => Promise.resolve({ path }) }),
        UnixSocketModule.forClient({ name: 'desk', path }),
        UnixSocketModule.forClientAsync({
          name: 'later',
          inject: ['PATH'],
          imports: [PathModule],
          useFactory: (at: string) => ({ path: at }),
        }),
      ],
      controllers: [RoomsController],
      providers: [Feed],
    })
    class AppModule {}

    const module = await Test.createTestingModule({ imports: [AppModule] }).compile();
    const app = module.createNestApplication({ logger: false });
    const feed = app.get(Feed);
    app.connectMicroservice({ strategy: app.get(UnixSocketServer) });
    await app.startAllMicroservices();
    await app.init();
    const received = new Promise((resolve) => feed.desk.onPush('tick', resolve));
    await feed.desk.connect();
    expect(await feed.later.request('leave', [])).toEqual([]);
    feed.server.push('tick', 7);
    expect(await received).toBe(7);
    await app.close();
    expect(feed.desk.isConnected()).toBe(false);
    await expect(feed.later.request('leave', [])).rejects.toMatchObject({ code: 'CLIENT_CLOSED' });
  });
});
