import { AsyncLocalStorage } from 'node:async_hooks';
import { existsSync } from 'node:fs';
import { Server as NetServer, Socket } from 'node:net';
import {
  Controller,
  Get,
  Inject,
  Injectable,
  Logger,
  Module,
  Scope,
  type INestApplication,
  type LoggerService,
  type OnApplicationShutdown,
  type PipeTransform,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  ClientProxy,
  ClientProxyFactory,
  ClientsModule,
  ClientTCP,
  Ctx,
  EventPattern,
  MessagePattern,
  Payload,
  RpcException,
  Transport,
  type AsyncMicroserviceOptions,
  type ClientsModuleOptionsFactory,
  type MicroserviceOptions,
} from '@nestjs/microservices';
import {
  BackoffStrategy,
  ClientClosedError,
  ConnectError,
  ConnectionLostError,
  EncodeError,
  HealthChecker,
  RemoteError,
  RequestAbortedError,
  RequestHandler,
  RequestHandlerRegistry,
  RequestTimeoutError,
  UNIX_SOCKET_TRANSPORT,
  UnixSocketClientProxy,
  UnixSocketContext,
  UnixSocketRecordBuilder,
  UnixSocketServer,
  type ReceivedPush,
} from 'nestjs-unix-socket';
import {
  concat,
  firstValueFrom,
  interval,
  lastValueFrom,
  of,
  take,
  throwError,
  timer,
  toArray,
  type Observable,
} from 'rxjs';
import { frame } from '../support/frames.js';
import {
  addressOf,
  closeAll,
  closeLater,
  freePort,
  Journal,
  newClient,
  newServer,
  observe,
  serve,
} from '../support/nest-apps.js';
import { PlainServer, response } from '../support/nest-plain-server.js';
import { tempSocketPath } from '../support/temp-paths.js';

// jest itself fails a test during which a promise is rejected and nobody listens, so every test here checks that.

const INTERNAL = { status: 'error', message: 'Internal server error' };

@Controller()
class EchoController {
  constructor(@Inject(Journal) private readonly journal: Journal) {}

  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    return data;
  }

  @MessagePattern({ cmd: 'sum' })
  sum(@Payload() numbers: number[]): number {
    return numbers.reduce((total, number) => total + number, 0);
  }

  @MessagePattern('nothing')
  nothing(): void {}

  @MessagePattern('never')
  never(@Payload() data: unknown): Promise<never> {
    this.journal.add(['never', data]);
    return new Promise(() => undefined);
  }

  @MessagePattern('stream')
  stream(@Payload() count: number): Observable<number> {
    return interval(1).pipe(take(count));
  }

  @MessagePattern('endless')
  endless(@Payload() _data: unknown): Observable<number> {
    return concat(of(1, 2), timer(60_000));
  }

  @MessagePattern('fails')
  fails(@Payload() data: string): never {
    throw new RpcException({ code: 'E_FAILED', data });
  }

  @MessagePattern('streamFails')
  streamFails(@Payload() _data: unknown): Observable<number> {
    return concat(
      of(1),
      throwError(() => new RpcException('enough')),
    );
  }

  @MessagePattern('pushBack')
  pushBack(@Payload() data: unknown, @Ctx() context: UnixSocketContext): unknown {
    return context.getConnection().push('pushed', data);
  }

  @EventPattern('noted')
  noted(@Payload() data: unknown): void {
    this.journal.add(data);
  }

  @EventPattern('notedTwice')
  first(@Payload() data: unknown): void {
    this.journal.add(['first', data]);
  }

  @EventPattern('notedTwice')
  async second(@Payload() data: unknown): Promise<void> {
    await new Promise(setImmediate);
    this.journal.add(['second', data]);
  }

  @EventPattern<string>('eventFails')
  eventFails(@Payload() _data: unknown): never {
    throw new Error('an event handler failed');
  }
}

@Controller({ scope: Scope.REQUEST })
class ScopedController {
  @MessagePattern('scoped')
  scoped(@Payload() data: unknown): unknown {
    return data;
  }
}

@Module({ controllers: [EchoController, ScopedController], providers: [Journal], exports: [Journal] })
class EchoModule {}

interface Running {
  readonly server: UnixSocketServer;
  readonly client: UnixSocketClientProxy;
  readonly journal: Journal;
}

type ClientOptions = Partial<ConstructorParameters<typeof UnixSocketClientProxy>[0]>;

/** {@link EchoModule} on a Unix socket, and a client for it. */
async function running(options: ClientOptions = {}): Promise<Running> {
  const server = newServer();
  const app = await serve(EchoModule, server);
  return { server, client: newClient({ ...addressOf(server), ...options }), journal: app.get(Journal) };
}

/** What a promise was rejected with. */
function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (value) => {
      throw new Error(`Not rejected, but resolved with ${JSON.stringify(value)}`);
    },
    (error: unknown) => error,
  );
}

function failure(source: Observable<unknown>): Promise<unknown> {
  return rejection(lastValueFrom(source, { defaultValue: undefined }));
}

function once(
  target: { on(event: never, listener: (...args: unknown[]) => void): unknown },
  event: string,
): Promise<unknown[]> {
  return new Promise((resolve) => target.on(event as never, (...args) => resolve(args)));
}

/** The connections a server of ours has accepted, as it sees them. */
function acceptedSockets(server: UnixSocketServer): Socket[] {
  const sockets: Socket[] = [];
  server.unwrap<NetServer>().on('connection', (socket) => sockets.push(socket));
  return sockets;
}

afterEach(closeAll);

describe('A client', () => {
  const made: readonly [name: string, make: (options: { path: string }) => ClientProxy][] = [
    ['new', (options) => new UnixSocketClientProxy(options)],
    [
      'ClientProxyFactory',
      (options) => ClientProxyFactory.create({ customClass: UnixSocketClientProxy, options }),
    ],
  ];

  it.each(made)('is made with %s', async (_name, make) => {
    const { server, journal } = await running();
    const client = make(addressOf(server) as { path: string }) as UnixSocketClientProxy;
    closeLater(client);
    expect(client).toBeInstanceOf(UnixSocketClientProxy);
    expect(client).toBeInstanceOf(ClientProxy);
    expect(await lastValueFrom(client.send({ cmd: 'sum' }, [1, 2]))).toBe(3);
    await lastValueFrom(client.emit('noted', 'x'));
    expect(await journal.have(1)).toEqual(['x']);
  });

  it.each<[name: string, register: (path: string) => unknown]>([
    [
      'ClientsModule.register',
      (path) =>
        ClientsModule.register([{ name: 'WORKER', customClass: UnixSocketClientProxy, options: { path } }]),
    ],
    [
      'ClientsModule.registerAsync and a factory',
      (path) => {
        @Module({ providers: [{ provide: 'PATH', useValue: path }], exports: ['PATH'] })
        class PathModule {}
        return ClientsModule.registerAsync([
          {
            name: 'WORKER',
            imports: [PathModule],
            inject: ['PATH'],
            useFactory: async (at: string) => ({ customClass: UnixSocketClientProxy, options: { path: at } }),
          },
        ]);
      },
    ],
    [
      'ClientsModule.registerAsync and a class',
      (path) => {
        @Injectable()
        class Options implements ClientsModuleOptionsFactory {
          createClientOptions() {
            return { customClass: UnixSocketClientProxy, options: { path } };
          }
        }
        return ClientsModule.registerAsync({ clients: [{ name: 'WORKER', useClass: Options }] });
      },
    ],
  ])('is injected from %s, and closed with its app', async (_name, register) => {
    const { server } = await running();

    @Injectable()
    class Caller {
      constructor(@Inject('WORKER') readonly worker: UnixSocketClientProxy) {}
    }
    @Module({
      imports: [register((addressOf(server) as { path: string }).path) as never],
      providers: [Caller],
    })
    class CallerModule {}

    const app = await NestFactory.createApplicationContext(CallerModule, { logger: false });
    const { worker } = app.get(Caller);
    expect(await lastValueFrom(worker.send('echo', 'hi'))).toBe('hi');
    const left = once(server, 'disconnect');
    await app.close();
    await left;
    expect(worker.isConnected()).toBe(false);
    expect(await failure(worker.send('echo', 1))).toBeInstanceOf(ClientClosedError);
  });

  it('fails in its constructor when its options are wrong, wherever it is made', () => {
    const wrong = { path: '' };
    expect(() => new UnixSocketClientProxy(wrong)).toThrow(/"path"/);
    expect(() => ClientProxyFactory.create({ customClass: UnixSocketClientProxy, options: wrong })).toThrow(
      /"path"/,
    );
    expect(() => new UnixSocketClientProxy(undefined as never)).toThrow(/"path"/);
  });
});

describe('A server', () => {
  const echoes = async (server: UnixSocketServer): Promise<unknown> =>
    lastValueFrom(newClient(addressOf(server)).send('echo', 'hi'));

  it('is the strategy of a microservice', async () => {
    const server = newServer();
    await serve(EchoModule, server);
    expect(await echoes(server)).toBe('hi');
  });

  it('comes from a factory that is injected', async () => {
    @Module({ imports: [EchoModule], providers: [{ provide: 'PATH', useValue: tempSocketPath() }] })
    class AppModule {}

    let server: UnixSocketServer | undefined;
    const app = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(AppModule, {
      useFactory: (path: string) => ({ strategy: (server = newServer({ path })) }),
      inject: ['PATH'],
      logger: false,
    });
    closeLater(app);
    await app.listen();
    expect(await echoes(server as unknown as UnixSocketServer)).toBe('hi');
  });

  it('fails listen() with its own error when the address is taken', async () => {
    const { server } = await running();
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(EchoModule, {
      strategy: newServer(addressOf(server)),
      logger: false,
      abortOnError: false,
    });
    expect(await rejection(app.listen())).toMatchObject({ code: 'ADDRESS_IN_USE' });
    await app.close();
    expect(await echoes(server)).toBe('hi');
  });

  it('can be one of several in one app, each with its own clients', async () => {
    const servers = [newServer(), newServer(), newServer({ port: 0 })] as const;
    const app = closeLater(await NestFactory.create(EchoModule, { logger: false }));
    for (const strategy of servers) app.connectMicroservice<MicroserviceOptions>({ strategy });
    await app.startAllMicroservices();
    const clients = servers.map((server) => newClient(addressOf(server)));
    expect(await Promise.all(clients.map((client, i) => client.request('echo', i)))).toEqual([0, 1, 2]);
    expect(servers.map(({ connectionCount }) => connectionCount)).toEqual([1, 1, 1]);
    expect(servers[2].endpoint).toEqual({ host: '127.0.0.1', port: expect.any(Number) });

    const pushed = clients.map((client) => firstValueFrom(client.pushes('hello')));
    servers.forEach((server, i) => server.push('hello', i));
    expect(await Promise.all(pushed)).toEqual([0, 1, 2]);

    const left = clients.map((client) => once(client, 'disconnect'));
    await app.close();
    await Promise.all(left);
    expect(existsSync((servers[0].endpoint as { path: string }).path)).toBe(false);
  });
});

describe('A hybrid app', () => {
  const upper: PipeTransform = {
    transform: (value: unknown) => (typeof value === 'string' ? value.toUpperCase() : value),
  };

  it.each([
    [true, 'HI'],
    [false, 'hi'],
  ])('with inheritAppConfig %s gives handlers its global pipes: %s', async (inheritAppConfig, heard) => {
    const server = newServer();

    @Controller()
    class HttpController {
      constructor(@Inject('WORKER') private readonly worker: ClientProxy) {}

      @Get('echo')
      echo(): Observable<unknown> {
        return this.worker.send('echo', 'hi');
      }
    }
    @Module({
      imports: [
        EchoModule,
        ClientsModule.register([
          { name: 'WORKER', customClass: UnixSocketClientProxy, options: addressOf(server) },
        ]),
      ],
      controllers: [HttpController],
    })
    class HybridModule {}

    const app: INestApplication = closeLater(await NestFactory.create(HybridModule, { logger: false }));
    app.useGlobalPipes(upper);
    app.connectMicroservice<MicroserviceOptions>({ strategy: server }, { inheritAppConfig });
    await app.startAllMicroservices();
    await app.listen(0, '127.0.0.1');
    const answer = await fetch(`${await app.getUrl()}/echo`, { headers: { connection: 'close' } });
    expect(await answer.text()).toBe(heard);
  });

  it('binds handlers to one transport or to all', async () => {
    @Controller()
    class BoundController {
      @MessagePattern('ours', UNIX_SOCKET_TRANSPORT)
      ours(): string {
        return 'ours';
      }

      @MessagePattern('tcp', Transport.TCP)
      tcp(): string {
        return 'tcp';
      }

      @MessagePattern('any')
      any(): string {
        return 'any';
      }

      @MessagePattern('by transport', UNIX_SOCKET_TRANSPORT)
      here(): string {
        return 'over ours';
      }

      @MessagePattern('by transport', Transport.TCP)
      there(): string {
        return 'over TCP';
      }
    }
    @Module({ controllers: [BoundController] })
    class BoundModule {}

    const [unix, ourTcp, port] = [newServer(), newServer({ port: 0 }), await freePort()];
    const app = closeLater(await NestFactory.create(BoundModule, { logger: false }));
    app.connectMicroservice<MicroserviceOptions>({ strategy: unix });
    app.connectMicroservice<MicroserviceOptions>({ strategy: ourTcp });
    app.connectMicroservice<MicroserviceOptions>({ transport: Transport.TCP, options: { port } });
    await app.startAllMicroservices();

    const patterns = ['ours', 'tcp', 'any', 'by transport'];
    const answers = (client: Pick<ClientProxy, 'send'>): Promise<unknown[]> =>
      Promise.all(
        patterns.map((pattern) =>
          lastValueFrom(client.send<unknown>(pattern, {})).catch(() => 'unknown pattern'),
        ),
      );
    const ours = ['ours', 'unknown pattern', 'any', 'over ours'];
    expect(unix.transportId).toBe(UNIX_SOCKET_TRANSPORT);
    expect(await answers(newClient(addressOf(unix)))).toEqual(ours);
    expect(await answers(newClient(addressOf(ourTcp)))).toEqual(ours);
    expect(await answers(closeLater(new ClientTCP({ port })))).toEqual([
      'unknown pattern',
      'tcp',
      'any',
      'over TCP',
    ]);
  });
});

describe('UnixSocketContext', () => {
  it('tells who calls, what for and with which metadata', async () => {
    const contexts: UnixSocketContext[] = [];

    @Controller()
    class ContextController {
      @MessagePattern({ cmd: 'look', version: 2 })
      look(@Payload() _data: unknown, @Ctx() context: UnixSocketContext): unknown {
        contexts.push(context);
        return { signal: context.signal.aborted };
      }

      @EventPattern<string>('happened')
      happened(@Payload() _data: unknown, @Ctx() context: UnixSocketContext): unknown {
        contexts.push(context);
        return context.getConnection().push('seen', context.getMetadata());
      }
    }
    @Module({ controllers: [ContextController] })
    class ContextModule {}

    const server = newServer();
    await serve(ContextModule, server);
    const client = newClient({ ...addressOf(server), accountId: 'acc' });
    const data = new UnixSocketRecordBuilder({ a: 1 }).setMetadata({ trace: 't1' }).build();
    expect(await lastValueFrom(client.send({ version: 2, cmd: 'look' }, data))).toEqual({ signal: false });
    expect(await lastValueFrom(client.send({ version: 2, cmd: 'look' }, {}))).toEqual({ signal: false });
    const seen = firstValueFrom(client.pushes('seen'));
    client.emit('happened', data);
    expect(await seen).toEqual({ trace: 't1' });

    const [first, second, event] = contexts as [UnixSocketContext, UnixSocketContext, UnixSocketContext];
    expect(first).toBeInstanceOf(UnixSocketContext);
    expect(first.getPattern()).toBe('{"cmd":"look","version":2}');
    expect(first.getArgs()).toHaveLength(4);
    expect(first.getMetadata()).toEqual({ trace: 't1' });
    expect(second.getMetadata()).toBeUndefined();
    expect(event.getPattern()).toBe('happened');
    expect(first.getRequestId()).toEqual(expect.any(String));
    expect(first.getRequestId()).not.toBe(second.getRequestId());
    expect(first.getConnection()).toBe(server.connections()[0]);
    expect(first.getConnection()).toBe(server.connection(client.getStats().connectionId as string));
    expect(first.getConnection()).toMatchObject({
      isUpgraded: true,
      isConnected: true,
      protocolVersion: 'v2',
    });
  });

  it('pushes to the caller alone, before the answer', async () => {
    const { server, client } = await running();
    const other = newClient(addressOf(server));
    await other.connect();
    const seen: unknown[] = [];
    client.onPush('pushed', (data) => seen.push(data));
    other.onPush('pushed', () => seen.push('not for the other'));
    expect(await client.request('pushBack', 'mine')).toEqual({ recipients: 1, dropped: 0 });
    await other.request('echo', 1);
    expect(seen).toEqual(['mine']);
  });

  const hasDispatchHook = 'setOnDispatchHook' in ClientProxy.prototype;
  (hasDispatchHook ? describe : describe.skip)('with the dispatch hook of Nest 12', () => {
    it('gets the metadata that it sets', async () => {
      @Controller()
      class MetadataController {
        constructor(@Inject(Journal) private readonly journal: Journal) {}

        @MessagePattern('metadata')
        metadata(@Payload() data: unknown, @Ctx() context: UnixSocketContext): unknown {
          return { data, metadata: context.getMetadata() };
        }

        @EventPattern<string>('metadata.event')
        event(@Payload() _data: unknown, @Ctx() context: UnixSocketContext): void {
          this.journal.add(context.getMetadata());
        }
      }
      @Module({ controllers: [MetadataController], providers: [Journal] })
      class MetadataModule {}

      const server = newServer();
      const app = await serve(MetadataModule, server);
      const client = newClient(addressOf(server));
      const dispatched: unknown[] = [];
      const setHook = client as unknown as {
        setOnDispatchHook(
          hook: (packet: { pattern: unknown; data: unknown; metadata?: object }) => void,
        ): void;
      };
      setHook.setOnDispatchHook((packet) => {
        dispatched.push([packet.pattern, packet.data]);
        packet.metadata = { traceparent: '00-1' };
      });
      const expected = { data: 1, metadata: { traceparent: '00-1' } };
      expect(await lastValueFrom(client.send('metadata', 1))).toEqual(expected);
      expect(await client.request('metadata', 1)).toEqual(expected);
      // What the call itself says comes first.
      expect(await client.request('metadata', 1, { meta: { own: 'x', traceparent: '00-2' } })).toEqual({
        data: 1,
        metadata: { traceparent: '00-2', own: 'x' },
      });
      const record = new UnixSocketRecordBuilder(1).setMetadata({ own: 'y' }).build();
      expect(await lastValueFrom(client.send('metadata', record))).toEqual({
        data: 1,
        metadata: { traceparent: '00-1', own: 'y' },
      });
      client.emit('metadata.event', 2);
      expect(await app.get(Journal).have(1)).toEqual([{ traceparent: '00-1' }]);
      expect(dispatched).toEqual([...Array<unknown>(4).fill(['metadata', 1]), ['metadata.event', 2]]);
    });
  });
});

describe('status, on() and unwrap()', () => {
  it('tell of the life of a server', async () => {
    const server = newServer();
    const seen: unknown[] = [];
    server.status.subscribe((status) => seen.push(status));
    for (const event of ['listening', 'connect', 'disconnect', 'close'] as const)
      server.on(event, () => seen.push(event));
    const app = await serve(EchoModule, server);
    expect(server.unwrap<NetServer>()).toBeInstanceOf(NetServer);
    expect(server.unwrap<NetServer>().listening).toBe(true);
    expect(app.unwrap()).toBe(server.unwrap());
    const client = newClient(addressOf(server));
    await client.connect();
    expect(server.isConnected()).toBe(true);
    const left = once(server, 'disconnect');
    await client.close();
    await left;
    expect(server.isConnected()).toBe(false);
    await app.close();
    expect(seen).toEqual(['connected', 'listening', 'connect', 'disconnect', 'disconnected', 'close']);
    expect(server.unwrap<NetServer>().listening).toBe(false);
  });

  it('are those of the microservice too', async () => {
    const server = newServer();
    const app = await serve(EchoModule, server);
    expect(await firstValueFrom(app.status)).toBe('connected');
    const connected = new Promise((resolve) => app.on('connect', resolve as never));
    await newClient(addressOf(server)).connect();
    expect(await connected).toBe(server.connections()[0]);
  });

  it('tell of the life of a client', async () => {
    const { server, client } = await running({ reconnect: { initialDelayMs: 1, maxDelayMs: 5 } });
    const seen: unknown[] = [];
    client.status.subscribe((status) => seen.push(status));
    client.on('connect', () => seen.push('connect'));
    client.on('disconnect', (error) => seen.push(['disconnect', error.code]));
    client.on('reconnecting', (attempt, delayMs, error) =>
      seen.push(['reconnecting', attempt, typeof delayMs, error.code]),
    );
    const pushed = once(client, 'push');
    expect(() => client.unwrap()).toThrow(/connect/);
    await client.connect();
    expect(client.unwrap()).toBeInstanceOf(Socket);
    server.push('any', 1);
    expect(await pushed).toEqual([{ type: 'any', data: 1, meta: undefined }]);

    const again = new Promise((resolve) => client.on('connect', resolve as () => void));
    server.connections()[0]?.close();
    await again;
    await client.close();
    expect(seen).toEqual([
      'disconnected',
      'connecting',
      'connected',
      'connect',
      'reconnecting',
      ['disconnect', 'CONNECTION_LOST'],
      ['reconnecting', 1, 'number', 'CONNECTION_LOST'],
      'connecting',
      'connected',
      'connect',
      'draining',
      'disconnected',
      ['disconnect', 'CLIENT_CLOSED'],
    ]);
    expect(() => client.unwrap()).toThrow(/connect/);
  });
});

describe('Processing hooks', () => {
  type StartHook = Parameters<UnixSocketServer['setOnProcessingStartHook']>[0];

  /** Nest's type says that a hook returns nothing, but those that await the end return a promise. */
  function startHook(hook: (...args: Parameters<StartHook>) => unknown): StartHook {
    return hook as StartHook;
  }

  interface Hooked extends Running {
    readonly seen: unknown[];
    readonly ended: Journal;
  }

  async function hooked(): Promise<Hooked> {
    const { server, client, journal } = await running();
    const seen: unknown[] = [];
    const ended = new Journal();
    const contexts = new Map<unknown, number>();
    const number = (context: unknown): number => {
      if (!contexts.has(context)) contexts.set(context, contexts.size + 1);
      return contexts.get(context) as number;
    };
    server.setOnProcessingStartHook((transport, context, done) => {
      seen.push(['start', transport, number(context), (context as UnixSocketContext).getPattern()]);
      void done();
    });
    server.setOnProcessingEndHook((transport, context) => {
      seen.push(['end', transport, number(context), (context as UnixSocketContext).getPattern()]);
      ended.add(context);
    });
    return { server, client, journal, seen, ended };
  }

  it.each<[name: string, pattern: unknown, data: unknown, method: 'send' | 'emit']>([
    ['a value', 'echo', 1, 'send'],
    ['nothing', 'nothing', 1, 'send'],
    ['a stream', 'stream', 5, 'send'],
    ['a stream of nothing', 'stream', 0, 'send'],
    ['an error', 'fails', 'x', 'send'],
    ['an error in a stream', 'streamFails', 1, 'send'],
    ['a request-scoped handler', 'scoped', 1, 'send'],
    ['an event', 'noted', 1, 'emit'],
    ['an event with two handlers', 'notedTwice', 1, 'emit'],
    ['an event whose handler fails', 'eventFails', 1, 'emit'],
    ['a request for an event', 'notedTwice', 1, 'send'],
  ])('run once each for %s', async (_name, pattern, data, method) => {
    const { client, seen, ended } = await hooked();
    await observe(client[method](pattern, data));
    await ended.have(1);
    // Whatever would run a second time has had the time of another call.
    await observe(client.send('echo', 'next'));
    await ended.have(2);
    expect(seen).toEqual([
      ['start', UNIX_SOCKET_TRANSPORT, 1, pattern],
      ['end', UNIX_SOCKET_TRANSPORT, 1, pattern],
      ['start', UNIX_SOCKET_TRANSPORT, 2, 'echo'],
      ['end', UNIX_SOCKET_TRANSPORT, 2, 'echo'],
    ]);
  });

  it('run once each for a stream that its caller leaves', async () => {
    const { client, seen, ended } = await hooked();
    expect(await lastValueFrom(client.send<number>('endless', 1).pipe(take(2), toArray()))).toEqual([1, 2]);
    await ended.have(1);
    expect(seen).toHaveLength(2);
  });

  it('do not run for a pattern that nobody handles', async () => {
    const { client, seen } = await hooked();
    await observe(client.send('unheard of', 1));
    expect(seen).toEqual([]);
  });

  it('may await the end, and give the handler its asynchronous context', async () => {
    const storage = new AsyncLocalStorage<string>();

    @Controller()
    class StoreController {
      @MessagePattern('store')
      store(): Observable<unknown> {
        const outside = storage.getStore();
        return timer(1).pipe(() => of(outside, storage.getStore()));
      }
    }
    @Module({ controllers: [StoreController] })
    class StoreModule {}

    const server = newServer();
    await serve(StoreModule, server);
    const journal = new Journal();
    server.setOnProcessingStartHook(
      startHook((_transport, context, done) =>
        storage.run(`for ${(context as UnixSocketContext).getPattern()}`, async () => {
          await done();
          journal.add('done');
        }),
      ),
    );
    server.setOnProcessingEndHook(() => journal.add('end'));
    const client = newClient(addressOf(server));
    expect(await observe(client.send('store', 1))).toEqual({
      values: ['for store', 'for store'],
      end: 'complete',
    });
    expect(await journal.have(2)).toEqual(['end', 'done']);
  });

  it.each<[name: string, fail: () => Promise<void>]>([
    [
      'throws',
      () => {
        throw new Error('a hook failed');
      },
    ],
    ['rejects', () => Promise.reject(new Error('a hook failed'))],
  ])('fail their call alone when the start hook %s', async (_name, fail) => {
    const { server, client } = await running();
    server.setOnProcessingStartHook(
      startHook((_transport, context, done) =>
        (context as UnixSocketContext).getPattern() === 'echo' ? fail() : done(),
      ),
    );
    expect(await observe(client.send('echo', 1))).toEqual({ values: [], end: { error: INTERNAL } });
    expect(await observe(client.emit('echo', 1))).toMatchObject({ end: 'complete' });
    expect(await observe(client.send({ cmd: 'sum' }, [1]))).toEqual({ values: [1], end: 'complete' });
  });

  it.each([
    ['echo', 1],
    ['stream', 2],
    ['fails', 'x'],
    ['notedTwice', 1],
  ])('harm nobody when the end hook throws after %s', async (pattern, data) => {
    const { server, client } = await running();
    const before = await observe(client.send(pattern, data));
    const ended = new Journal();
    server.setOnProcessingEndHook(() => {
      ended.add('end');
      throw new Error('a hook failed');
    });
    expect(await observe(client.send(pattern, data))).toEqual(before);
    client.emit(pattern, data);
    await ended.have(2);
    expect(await observe(client.send('echo', 1))).toMatchObject({ values: [1] });
  });
});

describe('Shutting down', () => {
  it('closes the server, and a client in the same app, once what is in flight is answered', async () => {
    const server = newServer();
    const order: string[] = [];

    @Injectable()
    class Witness implements OnApplicationShutdown {
      constructor(@Inject('WORKER') readonly worker: UnixSocketClientProxy) {}

      onApplicationShutdown(): void {
        order.push('shutdown hook');
      }
    }
    @Controller()
    class SlowController {
      @MessagePattern('slow')
      async slow(@Payload() _data: unknown, @Ctx() context: UnixSocketContext): Promise<string> {
        context.getConnection().push('started', null);
        await new Promise((resolve) => setTimeout(resolve, 30));
        order.push('handler done');
        return 'answered';
      }
    }
    @Module({
      imports: [
        ClientsModule.register([
          { name: 'WORKER', customClass: UnixSocketClientProxy, options: addressOf(server) },
        ]),
      ],
      controllers: [SlowController],
      providers: [Witness],
    })
    class AppModule {}

    const app = await serve(AppModule, server);
    const { worker } = app.get(Witness);
    const other = newClient(addressOf(server));
    const started = [worker, other].map((client) => firstValueFrom(client.pushes('started')));
    const answers = [worker, other].map((client) => client.request('slow', {}));
    await Promise.all(started);
    await app.close();
    expect(await Promise.all(answers)).toEqual(['answered', 'answered']);
    expect(order).toEqual(['handler done', 'handler done', 'shutdown hook']);
    expect(await firstValueFrom(server.status)).toBe('disconnected');
    expect(await firstValueFrom(worker.status)).toBe('disconnected');
    expect(existsSync((server.endpoint as { path: string }).path)).toBe(false);
    expect(await failure(worker.send('slow', {}))).toBeInstanceOf(ClientClosedError);
  });

  it('may be asked for twice, and tells what it did not let finish', async () => {
    const server = newServer({ path: tempSocketPath(), drainTimeoutMs: 20 });
    const app = await serve(EchoModule, server);
    const client = newClient({ ...addressOf(server), reconnect: { enabled: false } });
    const lost = rejection(client.request('never', 1));
    await app.get(Journal).have(1);
    const closing = server.close();
    expect(server.close()).toBe(closing);
    expect(await closing).toEqual({ cancelled: 1, unanswered: 0, unfinishedConnections: 1 });
    expect(await lost).toMatchObject({ delivery: 'sentNoReply' });
    await app.close();
  });

  it('of a client waits for answers, and takes no more calls', async () => {
    const { client } = await running({ drainTimeoutMs: 5_000 });
    await client.connect();
    const stream = client.request('stream', 3);
    const closing = client.close();
    expect(client.close()).toBe(closing);
    expect(await failure(client.send('echo', 1))).toBeInstanceOf(ClientClosedError);
    expect(await rejection(client.connect())).toBeInstanceOf(ClientClosedError);
    expect(await stream).toBe(2);
    expect(await closing).toEqual({ unanswered: 0, notSent: 0, cancelled: 0 });
  });

  it('of a client tells what it gave up', async () => {
    const { client, journal } = await running({ drainTimeoutMs: 20 });
    const lost = rejection(client.request('never', 1));
    await journal.have(1);
    expect(await client.close()).toEqual({ unanswered: 1, notSent: 0, cancelled: 0 });
    expect(await lost).toMatchObject({ code: 'CLIENT_CLOSED', delivery: 'sentNoReply' });
    const lonely = newClient({ path: tempSocketPath() });
    const waiting = rejection(lonely.request('echo', 1));
    expect(await lonely.close()).toEqual({ unanswered: 0, notSent: 1, cancelled: 0 });
    expect(await waiting).toMatchObject({ code: 'CLIENT_CLOSED', delivery: 'notSent' });
  });
});

describe('Functions as handlers', () => {
  it('are added while running, beside controllers and before them', async () => {
    const { server, client } = await running();
    expect(server.handle('double', (data: number) => data * 2)).toBe(server);
    server.handle('later', async (data: number) => data * 3);
    server.handle('nothing at all', () => undefined);
    expect(await client.request('double', 21)).toBe(42);
    expect(await client.request('later', 2)).toBe(6);
    expect(await observe(client.send('nothing at all', 1))).toEqual({ values: [], end: 'complete' });
    expect(await client.request('echo', 'controller')).toBe('controller');
    server.handle('echo', () => 'function');
    expect(await client.request('echo', 'controller')).toBe('function');
    expect(server.handlers.remove('echo')).toBe(true);
    expect(await client.request('echo', 'controller')).toBe('controller');
    expect(server.handlers).toBeInstanceOf(RequestHandlerRegistry);
    expect(server.handlers.list()).toEqual(['double', 'later', 'nothing at all']);
  });

  it('fail with their own text, code and details', async () => {
    const { server, client } = await running();
    server.handle('fail', () => {
      throw Object.assign(new Error('the very text'), { code: 'E_OWN', details: { a: 1 } });
    });
    const error = await rejection(client.request('fail', 1));
    expect(error).toBeInstanceOf(RemoteError);
    expect(error).toMatchObject({
      message: 'the very text',
      code: 'E_OWN',
      details: { a: 1 },
      delivery: 'replied',
    });
  });

  it('come from the marked methods of an instance', async () => {
    class Base {
      constructor(protected readonly name: string) {}

      @RequestHandler('who')
      who(): string {
        return this.name;
      }
    }
    class Derived extends Base {
      @RequestHandler('about')
      about(data: unknown, call: { type: string; meta: unknown }): unknown {
        return { data, type: call.type, meta: call.meta, name: this.name };
      }
    }
    const { server, client } = await running();
    expect(server.handlers.registerFrom(new Derived('derived')).toSorted()).toEqual(['about', 'who']);
    expect(await client.request('who', null)).toBe('derived');
    expect(await client.request('about', 1, { meta: { m: 'x' } })).toEqual({
      data: 1,
      type: 'about',
      meta: { m: 'x' },
      name: 'derived',
    });
  });
});

describe('emit()', () => {
  it('completes when the event is written, not before', async () => {
    const plain = closeLater(await PlainServer.start());
    const client = newClient({ path: plain.path, eventsAs: 'push', requestTimeoutMs: 0 });
    await client.connect();
    const peer = await plain.peer();
    peer.socket.pause();
    let isDone = false;
    const done = lastValueFrom(client.emit('big', 'x'.repeat(8_000_000)), { defaultValue: null }).then(
      () => (isDone = true),
    );
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(isDone).toBe(false);
    peer.socket.resume();
    await done;
    expect(await peer.next()).toMatchObject({ msg_type: 'push', data: { type: 'big' } });
  });

  it('errors when there is nobody to send it to', async () => {
    const client = newClient({ path: tempSocketPath(), reconnect: { enabled: false } });
    const error = await failure(client.emit('noted', 1));
    expect(error).toBeInstanceOf(ConnectError);
    expect(error).toMatchObject({ code: 'SOCKET_NOT_FOUND', delivery: 'notSent' });
    // Also for those who ask late, and without harm if nobody does.
    const emitted = client.emit('noted', 2);
    await failure(client.emit('noted', 3));
    expect(await failure(emitted)).toBeInstanceOf(ConnectError);
  });

  it.each<[name: string, data: () => unknown]>([
    ['circular', () => Object.assign([] as unknown[], { 0: {} }).map((_, __, all) => all)],
    ['a BigInt', () => ({ big: 1n })],
    ['of a reserved key', () => ({ __bytes__: 'ff' })],
  ])('and send() error for what cannot be encoded: %s', async (_name, data) => {
    const { client } = await running();
    const circular = data();
    if (Array.isArray(circular)) circular[0] = circular;
    for (const source of [client.emit('noted', circular), client.send('echo', circular)]) {
      const error = await failure(source);
      expect(error).toBeInstanceOf(EncodeError);
      expect(error).toMatchObject({ delivery: 'notSent' });
    }
    expect(await rejection(client.request('echo', circular))).toBeInstanceOf(EncodeError);
    expect(await client.request('echo', 'well')).toBe('well');
  });

  it.each([
    ['auto', 'request'],
    ['request', 'request'],
    ['push', 'push'],
  ] as const)('reaches a plain server, with eventsAs "%s", as a %s', async (eventsAs, kind) => {
    const plain = closeLater(await PlainServer.start());
    const client = newClient({ path: plain.path, eventsAs });
    expect(await observe(client.emit({ event: 'x' }, { a: 1 }))).toEqual({
      values: [undefined],
      end: 'complete',
    });
    const peer = await plain.peer();
    const got = await peer.next();
    expect(got).toMatchObject({ msg_type: kind, data: { type: '{"event":"x"}', data: { a: 1 } } });
    // Its answer, if there is one, disturbs nobody.
    await peer.send(frame(response(got.request_id, 'ignored')));
    const asked = client.request('next', 1);
    const { request_id: id } = await peer.next();
    await peer.send(frame(response(id, 'answer')));
    expect(await asked).toBe('answer');
    expect(client.getStats()).toMatchObject({ pending: 0, sent: 2 });
  });

  it.each(['auto', 'push', 'request'] as const)(
    'reaches the event handlers of our server with eventsAs "%s"',
    async (eventsAs) => {
      const { server, client, journal } = await running({ eventsAs });
      await lastValueFrom(client.emit('notedTwice', 1));
      expect(await journal.have(2)).toEqual([
        ['first', 1],
        ['second', 1],
      ]);
      await client.request('echo', 1);
      const { push, request } = server.getStats().receivedByType;
      expect({ push, request }).toEqual(
        eventsAs === 'request' ? { push: 0, request: 2 } : { push: 1, request: 1 },
      );
    },
  );
});

describe('request()', () => {
  it('gives the value, the last of a stream, undefined for nothing', async () => {
    const { client } = await running();
    expect(await client.request('echo', { a: 1 })).toEqual({ a: 1 });
    expect(await client.request({ cmd: 'sum' }, [1, 2])).toBe(3);
    expect(await client.request('echo', null)).toBeNull();
    expect(await client.request('stream', 3)).toBe(2);
    expect(await client.request('nothing', 1)).toBeUndefined();
  });

  it('rejects with the error of the handler', async () => {
    const { client } = await running();
    const error = await rejection(client.request('fails', 'x'));
    expect(error).toBeInstanceOf(RemoteError);
    expect(error).toMatchObject({ code: 'E_FAILED', payload: { code: 'E_FAILED', data: 'x' } });
    expect(await rejection(client.request('unheard of', 1))).toMatchObject({ code: 'UNKNOWN_PATTERN' });
  });

  it('ends after its time limit', async () => {
    const { client, journal } = await running();
    await client.connect();
    const error = await rejection(client.request('never', 1, { timeoutMs: 30 }));
    expect(error).toBeInstanceOf(RequestTimeoutError);
    expect(error).toMatchObject({ pattern: 'never', timeoutMs: 30, delivery: 'sentNoReply' });
    expect(await journal.have(1)).toEqual([['never', 1]]);
    expect(client.getStats()).toMatchObject({ timeouts: 1, pending: 0 });
    expect(await client.request('echo', 'well')).toBe('well');
  });

  it('ends when its signal fires, before, while waiting for a connection and while running', async () => {
    const { client, journal } = await running();
    const fired = AbortSignal.abort(new Error('changed my mind'));
    expect(await rejection(client.request('never', 0, { signal: fired }))).toMatchObject({
      code: 'REQUEST_ABORTED',
      delivery: 'notSent',
      cause: { message: 'changed my mind' },
    });

    const controller = new AbortController();
    const aborted = rejection(client.request('never', 1, { signal: controller.signal }));
    await journal.have(1);
    controller.abort('enough');
    const error = await aborted;
    expect(error).toBeInstanceOf(RequestAbortedError);
    expect(error).toMatchObject({ pattern: 'never', delivery: 'sentNoReply', cause: 'enough' });
    expect(journal.entries).toEqual([['never', 1]]);

    const lonely = newClient({ path: tempSocketPath() });
    const waiting = new AbortController();
    const never = rejection(lonely.request('echo', 1, { signal: waiting.signal }));
    waiting.abort();
    expect(await never).toMatchObject({ code: 'REQUEST_ABORTED', delivery: 'notSent' });
    expect(lonely.getStats()).toMatchObject({ waiting: 0 });
  });
});

describe('Pushes', () => {
  it('come by type and all together, in order, to everybody who listens', async () => {
    const { server, client } = await running();
    const seen: unknown[] = [];
    const all: ReceivedPush[] = [];
    const a = client.pushes<number>('a').subscribe((data) => seen.push(['a', data]));
    client.pushes().subscribe((push) => all.push(push));
    const stop = client.onPush('b', (data) => seen.push(['b', data]));
    await client.connect();
    for (const [type, data] of [
      ['a', 1],
      ['b', 2],
      ['c', 3],
      ['a', 4],
    ] as const) {
      expect(server.push(type, data)).toEqual({ recipients: 1, dropped: 0 });
    }
    await client.request('echo', 1);
    a.unsubscribe();
    stop();
    server.push('a', 5);
    server.push('b', 6);
    await client.request('echo', 1);
    expect(seen).toEqual([
      ['a', 1],
      ['b', 2],
      ['a', 4],
    ]);
    expect(all.map(({ type, data }) => [type, data])).toEqual([
      ['a', 1],
      ['b', 2],
      ['c', 3],
      ['a', 4],
      ['a', 5],
      ['b', 6],
    ]);
  });

  it('may be handled by asking the server', async () => {
    const { server, client } = await running();
    const journal = new Journal();
    client.onPush('price', async (data) => {
      journal.add(['begun', data]);
      const sum = await client.request({ cmd: 'sum' }, [data, 1]);
      journal.add(['done', await lastValueFrom(client.send('echo', sum))]);
    });
    await client.connect();
    for (const price of [1, 2, 3]) server.push('price', price);
    // One after the other.
    expect(await journal.have(6)).toEqual([
      ['begun', 1],
      ['done', 2],
      ['begun', 2],
      ['done', 3],
      ['begun', 3],
      ['done', 4],
    ]);
  });

  it('survive a handler that throws or rejects', async () => {
    const { server, client } = await running();
    const journal = new Journal();
    client.onPush('x', (data) => {
      if (data === 1) throw new Error('a push handler failed');
      return data === 2 ? Promise.reject(new Error('later')) : journal.add(data);
    });
    await client.connect();
    for (const data of [1, 2, 3]) server.push('x', data);
    expect(await journal.have(1)).toEqual([3]);
  });
});

describe('Health and statistics', () => {
  it('of a client', async () => {
    const { server, client } = await running();
    expect(client.isConnected()).toBe(false);
    expect(await client.healthCheck()).toBe(false);
    expect(client.getStats()).toMatchObject({ state: 'idle', sent: 0, connectionId: undefined });
    await client.connect();
    expect(client.isConnected()).toBe(true);
    expect(await client.healthCheck()).toBe(true);

    await client.request('echo', 1);
    await client.request('stream', 3);
    await observe(client.emit('noted', 1));
    await rejection(client.request('fails', 'x'));
    await rejection(client.request('never', 1, { timeoutMs: 5 }));
    server.push('any', 1);
    await client.request('echo', 2);
    const stats = client.getStats();
    expect(stats).toMatchObject({
      state: 'ready',
      attempts: 0,
      reconnects: 0,
      pending: 0,
      waiting: 0,
      sent: 6,
      received: 1 + 3 + 1 + 1 + 1,
      pushesReceived: 1,
      timeouts: 1,
      failuresByCode: { E_FAILED: 1, REQUEST_TIMEOUT: 1 },
      isUpgraded: true,
      connectionId: server.connections()[0]?.id,
    });
    expect(stats.bytesSent).toBeGreaterThan(500);
    expect(stats.bytesReceived).toBeGreaterThan(500);
    expect(stats.lastRoundTripMs).toBeGreaterThan(0);
    expect(stats.roundTripMs).toMatchObject({ count: 4 });
    expect(stats.roundTripMs.p50).toBeLessThanOrEqual(stats.roundTripMs.max);
    for (const part of [stats, stats.failuresByCode, stats.roundTripMs])
      expect(Object.isFrozen(part)).toBe(true);
    await client.request('echo', 3);
    expect(stats.sent).toBe(6);
    expect(client.getStats().sent).toBe(7);
  });

  it('of a server', async () => {
    const { server, client } = await running();
    expect(server.isConnected()).toBe(false);
    const other = newClient(addressOf(server));
    await client.connect();
    await other.connect();
    await client.request('echo', 1);
    await client.request('stream', 3);
    await rejection(client.request('unheard of', 1));
    await observe(client.emit('noted', 1));
    expect(server.push('any', 1)).toEqual({ recipients: 2, dropped: 0 });
    const left = once(server, 'disconnect');
    await other.close();
    await left;
    await client.request('echo', 2);

    const stats = server.getStats();
    expect(stats).toMatchObject({
      totalConnections: 2,
      activeConnections: 1,
      refusedConnections: 0,
      receivedByType: { request: 4, push: 1 },
      inFlight: 0,
      queued: 0,
      errors: 0,
      errorsByCode: {},
      connections: [{ id: client.getStats().connectionId, isUpgraded: true, version: 'v2', inFlight: 0 }],
    });
    expect(stats.messagesSent).toBe(1 + 4 + 1 + 2 + 1);
    expect(stats.sentByType.push).toBe(2);
    expect(stats.messagesReceived).toBeGreaterThanOrEqual(7);
    expect(stats.handlerLatencyMs.count).toBe(5);
    expect(stats.bytesReceived).toBe(client.getStats().bytesSent + other.getStats().bytesSent);
    expect(stats.bytesSent).toBe(client.getStats().bytesReceived + other.getStats().bytesReceived);
    expect(stats.connections[0]?.since).toBeLessThanOrEqual(stats.connections[0]?.lastActivity as number);
    for (const part of [
      stats,
      stats.receivedByType,
      stats.errorsByCode,
      stats.connections,
      stats.connections[0],
    ])
      expect(Object.isFrozen(part)).toBe(true);
  });

  it('know a server that does not answer from one that does', async () => {
    const plain = closeLater(await PlainServer.start());
    const client = newClient({ path: plain.path });
    await client.connect();
    expect(await client.healthCheck(20)).toBe(false);
    const checker = new HealthChecker({ intervalMs: 0, timeoutMs: 1_000 });
    const checked = checker.check(() => client.healthCheck());
    await (
      await plain.peer()
    ).send(frame({ msg_type: 'heartbeat', request_id: '', data: null, timestamp: '', error: null }));
    expect(await checked).toBe(true);
    expect(checker.isHealthy()).toBe(true);
    expect(new BackoffStrategy({ initialDelayMs: 7 }).getDelay()).toBe(7);
  });
});

describe('Connecting', () => {
  it('is done by the first call, or at once when eager', async () => {
    const { server, client } = await running();
    const eager = newClient({ ...addressOf(server), eager: true });
    const [[connection]] = [await once(server, 'connect')];
    expect(server.connections()).toEqual([connection]);
    if (!eager.isConnected()) await once(eager, 'connect');
    expect(eager.getStats().connectionId).toBe((connection as { id: string }).id);
    expect(client.isConnected()).toBe(false);
    await Promise.all([client.request('echo', 1), client.connect(), client.connect()]);
    expect(server.connectionCount).toBe(2);
    await client.connect();
    expect(server.connectionCount).toBe(2);
  });

  it('fails at once without reconnecting, and may be tried again', async () => {
    const path = tempSocketPath();
    const client = newClient({ path, reconnect: { enabled: false } });
    expect(await rejection(client.connect())).toMatchObject({
      code: 'SOCKET_NOT_FOUND',
      delivery: 'notSent',
    });
    expect(await rejection(client.request('echo', 1))).toBeInstanceOf(ConnectError);
    await serve(EchoModule, newServer({ path }));
    expect(await client.request('echo', 1)).toBe(1);
  });

  it('goes on behind a connect() that ran out of time, also of an eager client', async () => {
    const path = tempSocketPath();
    const reconnect = { initialDelayMs: 5, maxDelayMs: 10 };
    const client = newClient({ path, connectTimeoutMs: 20, reconnect });
    const eager = newClient({ path, connectTimeoutMs: 20, reconnect, eager: true });
    expect(await rejection(client.connect())).toMatchObject({ code: 'SOCKET_NOT_FOUND' });
    const connected = [once(client, 'connect'), once(eager, 'connect')];
    await serve(EchoModule, newServer({ path }));
    await Promise.all(connected);
    expect(await Promise.all([client.request('echo', 1), eager.request('echo', 2)])).toEqual([1, 2]);
  });

  it('is done again when the server comes back', async () => {
    const server = newServer();
    const app = await serve(EchoModule, server);
    const client = newClient({ ...addressOf(server), reconnect: { initialDelayMs: 5, maxDelayMs: 20 } });
    expect(await client.request('echo', 1)).toBe(1);
    await app.close();
    const waiting = [client.request('echo', 'waited'), lastValueFrom(client.send('echo', 'too'))];
    await serve(EchoModule, newServer(addressOf(server)));
    expect(await Promise.all(waiting)).toEqual(['waited', 'too']);
    expect(client.getStats()).toMatchObject({ reconnects: 1, failuresByCode: {} });
  });

  it('stops and starts by hand', async () => {
    const { server, client } = await running({ reconnect: { initialDelayMs: 1, maxDelayMs: 5 } });
    await client.connect();
    client.stopAutoReconnect();
    expect(client.isConnected()).toBe(true);
    let left = once(client, 'disconnect');
    server.connections()[0]?.close();
    await left;
    expect(client.getStats().state).toBe('idle');
    // The next call dials again.
    expect(await client.request('echo', 1)).toBe(1);

    left = once(client, 'disconnect');
    server.connections()[0]?.close();
    await left;
    const connected = once(client, 'connect');
    client.startAutoReconnect();
    await connected;
    expect(client.getStats()).toMatchObject({ state: 'ready', reconnects: 2 });

    const lonely = newClient({ path: tempSocketPath() });
    const rejected = rejection(lonely.request('echo', 1));
    await once(lonely, 'reconnecting');
    lonely.stopAutoReconnect();
    expect(await rejected).toMatchObject({ code: 'SOCKET_NOT_FOUND', delivery: 'notSent' });
  });
});

describe('A connection that dies', () => {
  type Kill = (server: UnixSocketServer, sockets: Socket[]) => void;

  it.each<[name: string, kill: Kill]>([
    ['closed by the server', (server) => server.connections()[0]?.close()],
    ['destroyed at the server', (_server, sockets) => sockets[0]?.destroy()],
    ['reset', (_server, sockets) => sockets[0]?.resetAndDestroy()],
  ])('%s, fails every pending call at once, and says that it may have run', async (name, kill) => {
    const server = newServer(name === 'reset' ? { port: 0 } : undefined);
    const sockets = acceptedSockets(server);
    const app = await serve(EchoModule, server);
    const client = newClient({ ...addressOf(server), reconnect: { initialDelayMs: 1, maxDelayMs: 5 } });
    const idempotent = new UnixSocketRecordBuilder('again').setIdempotent().build();

    const values: number[] = [];
    const pending = [
      rejection(client.request('never', 1)),
      failure(client.send('never', 2)),
      rejection(
        lastValueFrom(
          client
            .send<number>('endless', 3)
            .pipe(
              (source) => (source.subscribe({ next: (v) => values.push(v), error: () => undefined }), source),
            ),
        ),
      ),
    ];
    await app.get(Journal).have(2);
    while (values.length < 2) await new Promise(setImmediate);
    kill(server, sockets);
    for (const error of await Promise.all(pending)) {
      expect(error).toBeInstanceOf(ConnectionLostError);
      expect(error).toMatchObject({ code: 'CONNECTION_LOST', delivery: 'sentNoReply' });
    }
    expect(values).toEqual([1, 2]);
    expect(await lastValueFrom(client.send('echo', idempotent))).toBe('again');
    expect(client.getStats().failuresByCode).toEqual({ CONNECTION_LOST: 4 });
  });
});

describe('Logging', () => {
  class CountingLogger implements LoggerService {
    readonly lines: string[] = [];

    log = (message: unknown, context?: string) => this.add('log', message, context);
    error = (message: unknown, ...rest: unknown[]) => this.add('error', message, rest.at(-1));
    warn = (message: unknown, context?: string) => this.add('warn', message, context);
    debug = (message: unknown, context?: string) => this.add('debug', message, context);
    verbose = (message: unknown, context?: string) => this.add('verbose', message, context);

    /** Takes the lines of this package. */
    take(): string[] {
      return this.lines.splice(0);
    }

    private add(level: string, message: unknown, context: unknown): void {
      if (context === UnixSocketServer.name || context === UnixSocketClientProxy.name)
        this.lines.push(
          `${level} ${context}: ${message instanceof Error ? message.message : String(message)}`,
        );
    }
  }

  afterEach(() => Logger.overrideLogger(false));

  it('tells of connections at debug, of losses at warn, of lost work at error, and of no message', async () => {
    const { server, client, journal } = await running({ reconnect: { initialDelayMs: 1, maxDelayMs: 5 } });
    const logger = new CountingLogger();
    Logger.overrideLogger(logger);

    const accepted = once(server, 'connect');
    await client.connect();
    await accepted;
    const id = server.connections()[0]?.id;
    const label = (addressOf(server) as { path: string }).path;
    expect(logger.take().toSorted()).toEqual([
      `debug UnixSocketClientProxy: Connected to ${label}`,
      `debug UnixSocketServer: Client ${id} connected`,
    ]);

    client.onPush('pushed', () => undefined);
    for (let i = 0; i < 20; i++) {
      await client.request('echo', i);
      await client.request('stream', 2);
      await observe(client.emit('noted', i));
      await client.request('pushBack', i);
      await observe(client.send('fails', 'x'));
      await observe(client.send('unheard of', i));
    }
    await journal.have(20);
    expect(logger.take()).toEqual([]);

    for (let i = 0; i < 3; i++) await observe(client.emit('nobody listens', i));
    await client.request('echo', 1);
    expect(logger.take()).toEqual([
      expect.stringMatching(/^error UnixSocketServer: No handler .*"nobody listens"/),
    ]);

    client.onPush('bad', () => {
      throw new Error('a push handler failed');
    });
    server.push('bad', 1);
    await client.request('echo', 1);
    expect(logger.take()).toEqual([
      expect.stringMatching(/^error UnixSocketClientProxy: a push handler failed/),
    ]);

    const again = once(server, 'connect');
    server.connections()[0]?.close();
    await again;
    await client.request('echo', 1);
    const lost = logger.take();
    expect(lost.filter((line) => line.startsWith('warn'))).toEqual([
      expect.stringMatching(/^warn UnixSocketClientProxy: The connection to .* was lost/),
    ]);
    expect(lost.filter((line) => !/^(debug|warn)/.test(line))).toEqual([]);

    const left = once(server, 'disconnect');
    await client.close();
    await left;
    expect(logger.take()).toEqual([
      expect.stringMatching(/^debug UnixSocketServer: Client \w{8} disconnected$/),
    ]);

    server.handle('cancelled', () => new Promise(() => undefined));
  });

  it('tells once that the server is away, not for each attempt', async () => {
    const logger = new CountingLogger();
    const client = newClient({ path: tempSocketPath(), reconnect: { initialDelayMs: 1, maxDelayMs: 2 } });
    Logger.overrideLogger(logger);
    const rejected = rejection(client.request('echo', 1, { timeoutMs: 60 }));
    const attempts = new Journal();
    client.on('reconnecting', (attempt) => attempts.add(attempt));
    await attempts.have(6);
    expect(logger.take()).toEqual([expect.stringMatching(/^warn UnixSocketClientProxy: Cannot connect/)]);
    expect(await rejected).toBeInstanceOf(RequestTimeoutError);
  });
});
