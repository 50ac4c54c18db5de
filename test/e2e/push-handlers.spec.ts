import 'reflect-metadata';
import {
  Catch,
  Controller,
  createParamDecorator,
  Inject,
  Injectable,
  Logger,
  Module,
  ParseIntPipe,
  Scope,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  type DynamicModule,
  type ExceptionFilter,
  type ExecutionContext,
  type INestApplication,
  type NestInterceptor,
  type PipeTransform,
  type Provider,
  type Type,
} from '@nestjs/common';
import { APP_FILTER, APP_GUARD, APP_INTERCEPTOR, APP_PIPE, REQUEST } from '@nestjs/core';
import { ClientsModule, Ctx, Payload, RpcException, type RequestContext } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { EMPTY, map, of, tap, throwError, type Observable } from 'rxjs';
import {
  DuplicateClientError,
  getUnixSocketClientToken,
  InjectUnixSocketClient,
  InvalidHandlerError,
  OnConnect,
  OnDisconnect,
  OnPush,
  Signal,
  SocketServer,
  UnixSocketClientProxy,
  UnixSocketModule,
  UnixSocketPushContext,
  UnixSocketServer,
  type ClientConnection,
  type SocketServerEvents,
  type UnixSocketError,
} from 'nestjs-unix-socket';
import { Journal } from '../support/nest-apps.js';
import { tempSocketPath } from '../support/temp-paths.js';

const journal = new Journal();
const closers: (() => unknown)[] = [];
let logged: jest.SpyInstance;

beforeEach(() => {
  journal.clear();
  logged = jest.spyOn(Logger.prototype, 'error').mockImplementation(() => undefined);
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
  jest.restoreAllMocks();
});

async function startServer(events: SocketServerEvents = {}, path = tempSocketPath()): Promise<SocketServer> {
  const server = new SocketServer({ path }, events);
  await server.listen();
  closers.push(() => server.close());
  return server;
}

interface Parts {
  readonly providers?: Provider[];
  readonly controllers?: Type[];
  readonly imports?: (DynamicModule | Type)[];
}

/** An app of these parts, initialised. */
async function startApp(parts: Parts, setUp?: (app: INestApplication) => void): Promise<INestApplication> {
  const module = await Test.createTestingModule(parts).compile();
  const app = module.createNestApplication({ logger: false });
  closers.push(() => app.close());
  setUp?.(app);
  await app.init();
  return app;
}

const clientOf = (app: INestApplication, name = 'desk'): UnixSocketClientProxy =>
  app.get(getUnixSocketClientToken(name), { strict: false });

/** The same, with a server and one client that has connected to it. */
async function startPair(
  parts: Parts,
  setUp?: (app: INestApplication) => void,
): Promise<{ server: SocketServer; app: INestApplication; client: UnixSocketClientProxy }> {
  const server = await startServer();
  const { path } = server.options.endpoint as { path: string };
  const imports = [UnixSocketModule.forClient({ name: 'desk', path }), ...(parts.imports ?? [])];
  const app = await startApp({ ...parts, imports }, setUp);
  const client = clientOf(app);
  await client.connect();
  return { server, app, client };
}

/** What came beside each other, in an order of no meaning. */
function sorted(entries: readonly unknown[]): string[] {
  return entries.map(String).sort((a, b) => a.localeCompare(b));
}

@Injectable()
class NoteGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const rpc = context.switchToRpc();
    const isPush = rpc.getContext<unknown>() instanceof UnixSocketPushContext;
    journal.add(`guard of ${context.getClass().name}.${context.getHandler().name}, ${context.getType()}`);
    return isPush && rpc.getData<{ allowed?: boolean }>().allowed !== false;
  }
}

@Catch()
class NoteFilter implements ExceptionFilter {
  catch(error: Error, host: ArgumentsHost): Observable<never> {
    journal.add(`filter: ${error.constructor.name} ${error.message}, ${host.getType()}`);
    return throwError(() => error);
  }
}

describe('a method with @OnPush', () => {
  it('runs pipes on its payload, decorated or not, of the method, the parameter and the app', async () => {
    @Injectable()
    class Plus implements PipeTransform {
      transform(value: number): number {
        return value + 1;
      }
    }

    @Injectable()
    class Desk {
      @OnPush('plain')
      @UsePipes(Plus)
      plain(value: number): void {
        journal.add(['plain', value]);
      }

      @OnPush('parameter')
      parameter(@Payload(Plus) value: number, @Ctx() { args }: { args: unknown[] }): void {
        journal.add(['parameter', value, args.length]);
      }

      @OnPush('strict')
      strict(@Payload('count', ParseIntPipe) count: number): void {
        journal.add(['strict', count]);
      }
    }

    const { server, client } = await startPair(
      { providers: [Desk, { provide: APP_PIPE, useValue: { transform: (value: unknown) => value } }] },
      (app) =>
        app.useGlobalPipes({
          transform: (value: unknown) => (typeof value === 'number' ? value * 10 : value),
        }),
    );
    server.push('plain', 1);
    server.push('parameter', 1);
    server.push('strict', { count: 'many' });
    server.push('strict', { count: '7' });
    expect(await journal.have(3)).toEqual(
      expect.arrayContaining([
        ['plain', 11],
        ['parameter', 11, 3],
        ['strict', 7],
      ]),
    );
    expect(client.getStats().pushesFailed).toBe(1);
    expect(logged).toHaveBeenCalledTimes(1);
  });

  it.each(['provider', 'controller', 'provider under a token'] as const)(
    'runs guards, on a %s, and takes a refusal as an RpcException',
    async (kind) => {
      @Controller()
      class Desk {
        @OnPush('tick')
        @UseGuards(NoteGuard)
        @UseFilters(NoteFilter)
        onTick({ n }: { n: number }): void {
          journal.add(n);
        }
      }

      const asProvider: Provider = kind === 'provider' ? Desk : { provide: 'DESK', useClass: Desk };
      const { server, client } = await startPair(
        kind === 'controller' ? { controllers: [Desk] } : { providers: [asProvider] },
      );
      server.push('tick', { n: 1, allowed: false });
      server.push('tick', { n: 2 });
      expect(await journal.have(4)).toEqual([
        'guard of Desk.onTick, rpc',
        'filter: RpcException Forbidden resource, rpc',
        'guard of Desk.onTick, rpc',
        2,
      ]);
      // What a filter passes on has been handled: counted, and not logged.
      expect(client.getStats().pushesFailed).toBe(1);
      expect(logged).not.toHaveBeenCalled();
    },
  );

  it('runs interceptors around it; what they and it return goes nowhere', async () => {
    @Injectable()
    class Note implements NestInterceptor {
      intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
        const data = context.switchToRpc().getData<number>();
        if (data === 0) return EMPTY;
        journal.add(`before ${data}`);
        return next.handle().pipe(
          map((value) => `${String(value)}!`),
          tap((value) => journal.add(`after ${value}`)),
        );
      }
    }

    @Injectable()
    class Desk {
      @OnPush('tick')
      @UseInterceptors(Note)
      onTick(n: number): Observable<string> {
        return of(`first of ${n}`, `last of ${n}`);
      }
    }

    const { server, client } = await startPair({ providers: [Desk] });
    server.push('tick', 0);
    server.push('tick', 1);
    expect(await journal.have(3)).toEqual(['before 1', 'after first of 1!', 'after last of 1!']);
    expect(client.getStats().pushesFailed).toBe(0);
  });

  it('hands its errors to filters, and logs and counts once what none of them took', async () => {
    @Catch(TypeError)
    class OnlyTypes implements ExceptionFilter {
      catch(error: TypeError): void {
        journal.add(`types: ${error.message}`);
      }
    }

    @Catch(RangeError)
    class Broken implements ExceptionFilter {
      catch(): never {
        throw new Error('in a filter');
      }
    }

    const failures: Record<string, () => unknown> = {
      type: () => Promise.reject(new TypeError('a type')),
      rpc: () => throwError(() => new RpcException({ code: 'NO', message: 'no' })),
      text: () => {
        // oxlint-disable-next-line no-throw-literal, typescript/only-throw-error
        throw 'a text';
      },
      range: () => {
        throw new RangeError('a range');
      },
      none: () => undefined,
    };

    @Injectable()
    class Desk {
      @OnPush('tick')
      @UseFilters(new OnlyTypes(), Broken)
      onTick(what: string): unknown {
        journal.add(what);
        return failures[what]?.();
      }
    }

    const { server, client } = await startPair({ providers: [Desk] });
    for (const what of Object.keys(failures)) server.push('tick', what);
    await journal.have(6);
    expect(journal.entries).toEqual(['type', 'types: a type', 'rpc', 'text', 'range', 'none']);
    expect(logged.mock.calls.map(([error]) => error as unknown)).toEqual([
      new TypeError('a type'), // its filter returned nothing, as for any RPC handler
      expect.any(RpcException),
      'a text',
      new Error('in a filter'),
    ]);
    expect(client.getStats().pushesFailed).toBe(4);
  });

  it('runs what the app has for all: guards, interceptors and filters', async () => {
    @Injectable()
    class Desk {
      @OnPush('tick')
      onTick({ n }: { n: number }): void {
        if (n === 2) throw new Error('two');
        journal.add(n);
      }
    }

    const note: NestInterceptor = {
      intercept: (_context, next) => {
        journal.add('interceptor');
        return next.handle();
      },
    };
    const { server } = await startPair(
      {
        providers: [
          Desk,
          { provide: APP_GUARD, useClass: NoteGuard },
          { provide: APP_INTERCEPTOR, useValue: note },
          { provide: APP_FILTER, useClass: NoteFilter },
        ],
      },
      (app) => app.useGlobalGuards({ canActivate: () => journal.add('global guard') ?? true }),
    );
    server.push('tick', { n: 1 });
    server.push('tick', { n: 2 });
    const entries = await journal.have(8);
    expect(sorted(entries)).toEqual(
      sorted([
        'global guard',
        'guard of Desk.onTick, rpc',
        'interceptor',
        1,
        'global guard',
        'guard of Desk.onTick, rpc',
        'interceptor',
        'filter: Error two, rpc',
      ]),
    );
  });

  it.each(['provider', 'controller'] as const)(
    'gets an instance of its own for each push, on a request-scoped %s',
    async (kind) => {
      let made = 0;

      @Injectable({ scope: Scope.REQUEST })
      class ScopedGuard implements CanActivate {
        constructor(@Inject(REQUEST) private readonly request: RequestContext) {}

        canActivate(): boolean {
          journal.add(`guard ${String(this.request.getData())}`);
          return true;
        }
      }

      @Controller({ scope: Scope.REQUEST })
      class Desk {
        private readonly instance = ++made;

        constructor(
          @Inject(REQUEST) private readonly request: RequestContext<number, UnixSocketPushContext>,
        ) {}

        @OnPush('tick', { client: 'desk' })
        @UseGuards(ScopedGuard)
        onTick(n: number): void {
          if (n < 0) throw new Error('negative');
          const { request } = this;
          journal.add([
            this.instance,
            n,
            request.getPattern(),
            request.data,
            request.getContext().getMetadata(),
          ]);
        }
      }

      const { server, client } = await startPair(
        kind === 'controller' ? { controllers: [Desk] } : { providers: [Desk] },
      );
      server.push('tick', 1, { meta: { a: 'b' } });
      server.push('tick', 2);
      server.push('tick', -3);
      expect(await journal.have(5)).toEqual([
        'guard 1',
        [1, 1, 'tick', 1, { a: 'b' }],
        'guard 2',
        [2, 2, 'tick', 2, undefined],
        'guard -3',
      ]);
      await new Promise(setImmediate);
      expect(client.getStats().pushesFailed).toBe(1);
    },
  );

  it('takes @Payload, @Ctx, @Signal and decorators of the app', async () => {
    const TypeOfPush = createParamDecorator((_data: unknown, context: ExecutionContext) =>
      context.switchToRpc().getContext<UnixSocketPushContext>().getPattern(),
    );

    @Injectable()
    class Desk {
      constructor(@InjectUnixSocketClient('desk') private readonly client: UnixSocketClientProxy) {}

      @OnPush('tick')
      async onTick(
        @Payload('price') price: number,
        @Ctx() context: UnixSocketPushContext,
        @Signal() signal: AbortSignal,
        @TypeOfPush() type: string,
      ): Promise<void> {
        journal.add([price, type, context.getMetadata(), context.getPush().data, signal === context.signal]);
        expect(context.getClient()).toBe(this.client);
        journal.add(await context.getClient().request('sum', [1, 2]));
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
        journal.add('aborted');
      }
    }

    const { server, app } = await startPair({ providers: [Desk] });
    server.handle('sum', ([a, b]: [number, number]) => a + b);
    server.push('tick', { price: 5 }, { meta: { trace: 'x' } });
    server.push('tick', 'waits for the first, and is never handled');
    expect(await journal.have(2)).toEqual([[5, 'tick', { trace: 'x' }, { price: 5 }, true], 3]);
    await app.close();
    expect(await journal.have(3)).toContain('aborted');
    expect(journal.entries).toHaveLength(3);
  });

  it('takes object patterns in any order of keys, and wildcards if it asks for them', async () => {
    @Injectable()
    class Desk {
      @OnPush({ cmd: 'set', to: 1 })
      object(data: unknown): void {
        journal.add(['object', data]);
      }

      @OnPush('ticks.*', { wildcards: true })
      @OnPush('news.>', { wildcards: true })
      @OnPush('*')
      wild(@Payload() data: unknown, @Ctx() context: UnixSocketPushContext): void {
        journal.add([context.getPattern(), data]);
      }
    }

    const { server } = await startPair({ providers: [Desk] });
    server.push('{"to":1,"cmd":"set"}', 1);
    server.push('{"cmd":"set","to":1}', 2);
    server.push('{"cmd":"set","to":2}', 'another');
    server.push('{"cmd":', 'hostile');
    server.push('ticks.ACME', 3);
    server.push('ticks.ACME.bid', 'too deep');
    server.push('news.a.b', 4);
    // In order for each of the subscriptions, one of which each decorator makes.
    const entries = (await journal.have(4)) as [string, number][];
    expect(entries).toHaveLength(4);
    expect(entries.filter(([what]) => what === 'object')).toEqual([
      ['object', 1],
      ['object', 2],
    ]);
    expect(entries).toContainEqual(['ticks.ACME', 3]);
    expect(entries).toContainEqual(['news.a.b', 4]);
  });

  it('belongs to one client, by its name or token, whichever module made it', async () => {
    const [first, second] = [await startServer(), await startServer()];
    const at = ({ options }: SocketServer): { path: string } => ({
      ...(options.endpoint as { path: string }),
    });

    @Injectable()
    class Desk {
      @OnPush('tick', { client: 'first' })
      first(data: unknown): void {
        journal.add(['first', data]);
      }

      @OnPush('tick', { client: 'SECOND' })
      second(data: unknown): void {
        journal.add(['second', data]);
      }
    }

    const app = await startApp({
      imports: [
        UnixSocketModule.forClient({ name: 'first', ...at(first) }),
        ClientsModule.register([{ name: 'SECOND', customClass: UnixSocketClientProxy, options: at(second) }]),
      ],
      providers: [Desk],
    });
    await clientOf(app, 'first').connect();
    await app.get<UnixSocketClientProxy>('SECOND').connect();
    first.push('tick', 1);
    second.push('tick', 2);
    const entries = await journal.have(2);
    expect(entries).toHaveLength(2);
    expect(entries).toEqual(
      expect.arrayContaining([
        ['first', 1],
        ['second', 2],
      ]),
    );
  });

  it('misses nothing: a client connects by itself only once its handlers are bound', async () => {
    const server = await startServer({
      onConnect: (connection) => void connection.push('welcome', connection.id),
    });
    const { path } = server.options.endpoint as { path: string };

    @Injectable()
    class Desk {
      @OnPush('welcome')
      onWelcome(id: string): void {
        journal.add(id);
      }
    }

    await startApp({
      imports: [UnixSocketModule.forClient({ name: 'desk', path, eager: true })],
      // Nest makes clients first; whatever takes its time follows.
      providers: [
        Desk,
        { provide: 'SLOW', useFactory: () => new Promise((resolve) => setTimeout(resolve, 50)) },
      ],
    });
    expect(await journal.have(1)).toEqual([server.connections()[0]?.id]);
  });

  it('ends with its app, also where the client goes on', async () => {
    const server = await startServer();
    const client = new UnixSocketClientProxy({ ...(server.options.endpoint as { path: string }) });
    closers.push(() => client.close());

    @Injectable()
    class Desk {
      @OnPush('tick', { client: 'OWN' })
      onTick(n: number): void {
        journal.add(n);
      }
    }

    const app = await startApp({
      imports: [UnixSocketModule.forClient()],
      providers: [Desk, { provide: 'OWN', useValue: client }],
    });
    await client.connect();
    server.push('tick', 1);
    await journal.have(1);
    await app.close();
    server.push('tick', 2);
    await client.healthCheck();
    await new Promise(setImmediate);
    expect(journal.entries).toEqual([1]);
  });

  it('waits for itself alone', async () => {
    let release = (): void => {};

    @Injectable()
    class Desk {
      @OnPush('tick')
      async slow(n: number): Promise<void> {
        journal.add(`slow ${n}`);
        if (n === 1) await new Promise<void>((resolve) => (release = resolve));
      }

      @OnPush('tick')
      quick(n: number): void {
        journal.add(`quick ${n}`);
      }
    }

    const { server } = await startPair({ providers: [Desk] });
    for (let n = 1; n <= 3; n++) server.push('tick', n);
    expect(sorted(await journal.have(4))).toEqual(['quick 1', 'quick 2', 'quick 3', 'slow 1']);
    release();
    expect((await journal.have(6)).slice(4)).toEqual(['slow 2', 'slow 3']);
  });
});

describe('@OnConnect and @OnDisconnect', () => {
  it('tell a server of its clients, and a client of its connections', async () => {
    const path = tempSocketPath();

    @Injectable()
    class Hooks {
      @OnConnect({ server: true })
      onClient(connection: ClientConnection): void {
        journal.add(['client', connection.isConnected]);
      }

      @OnDisconnect({ server: true })
      onClientGone(connection: ClientConnection, cause: Error | undefined): never {
        journal.add(['client gone', connection.isConnected, cause]);
        throw new Error('in a hook');
      }

      @OnConnect({ client: 'self' })
      async onConnected(client: UnixSocketClientProxy): Promise<void> {
        await client.healthCheck();
        journal.add(['connected', client.isConnected()]);
      }

      @OnDisconnect({ client: 'self' })
      onLost(client: UnixSocketClientProxy, error: UnixSocketError): void {
        journal.add(['lost', client.isConnected(), error.code]);
      }
    }

    const app = await startApp({
      imports: [UnixSocketModule.forRoot({ path }), UnixSocketModule.forClient({ name: 'self', path })],
      providers: [Hooks],
    });
    app.connectMicroservice({ strategy: app.get(UnixSocketServer) });
    await app.startAllMicroservices();
    await clientOf(app, 'self').connect();
    expect(await journal.have(2)).toEqual([
      ['client', true],
      ['connected', true],
    ]);
    await clientOf(app, 'self').close();
    const entries = (await journal.have(4)).slice(2);
    expect(entries).toHaveLength(2);
    expect(entries).toEqual(
      expect.arrayContaining([
        ['lost', false, 'CLIENT_CLOSED'],
        ['client gone', false, undefined],
      ]),
    );
    await new Promise(setImmediate);
    expect(logged).toHaveBeenCalledWith(new Error('in a hook'), 'Hooks.onClientGone failed');
  });

  it('tell a server of those who came before the app was ready', async () => {
    @Injectable()
    class Hooks {
      @OnConnect()
      onClient({ id }: ClientConnection): void {
        journal.add(id);
      }
    }

    const path = tempSocketPath();
    const module = await Test.createTestingModule({
      imports: [UnixSocketModule.forRoot({ path })],
      providers: [Hooks],
    }).compile();
    const app = module.createNestApplication({ logger: false });
    closers.push(() => app.close());
    app.connectMicroservice({ strategy: app.get(UnixSocketServer) });
    await app.startAllMicroservices();
    const early = new UnixSocketClientProxy({ path });
    closers.push(() => early.close());
    await early.connect();
    await app.init();
    expect(journal.entries).toEqual([early.getStats().connectionId]);
  });
});

describe('an app does not start', () => {
  const path = '/tmp/never-connected.sock';
  const desk = (): DynamicModule => UnixSocketModule.forClient({ name: 'desk', path });
  const two = (): DynamicModule =>
    UnixSocketModule.forClient({ name: 'desk', path }, { name: 'other', path });

  const withHandler = (...decorators: MethodDecorator[]): Type => {
    class Desk {
      onTick(): void {}
    }
    const descriptor = Object.getOwnPropertyDescriptor(Desk.prototype, 'onTick') as PropertyDescriptor;
    for (const decorate of decorators) decorate(Desk.prototype, 'onTick', descriptor);
    Injectable()(Desk);
    return Desk;
  };

  it.each<[string, string, () => Parts]>([
    [
      'whose handler names an unknown client',
      'UNKNOWN_CLIENT',
      () => ({ imports: [desk()], providers: [withHandler(OnPush('tick', { client: 'dusk' }))] }),
    ],
    [
      'whose handler has no client',
      'UNKNOWN_CLIENT',
      () => ({ imports: [UnixSocketModule.forClient()], providers: [withHandler(OnPush('tick'))] }),
    ],
    [
      'whose handler could have two clients',
      'AMBIGUOUS_CLIENT',
      () => ({ imports: [two()], providers: [withHandler(OnPush('tick'))] }),
    ],
    [
      'whose hook could have a server and a client',
      'AMBIGUOUS_CLIENT',
      () => ({
        imports: [desk(), UnixSocketModule.forRoot({ path })],
        providers: [withHandler(OnConnect())],
      }),
    ],
    [
      'whose hook has no server',
      'UNKNOWN_CLIENT',
      () => ({ imports: [desk()], providers: [withHandler(OnConnect({ server: true }))] }),
    ],
    [
      'with a method decorated twice for one pattern of one client',
      'DUPLICATE_HANDLER',
      () => ({
        imports: [desk()],
        providers: [withHandler(OnPush('tick'), OnPush('tick', { client: 'desk' }))],
      }),
    ],
    [
      'with a hook on a request-scoped class',
      'HANDLER_NOT_SINGLETON',
      () => {
        const Desk = withHandler(OnConnect());
        Injectable({ scope: Scope.REQUEST })(Desk);
        return { imports: [desk()], providers: [Desk] };
      },
    ],
    [
      'whose guard Nest would pass over in silence',
      'ENHANCER_NOT_FOUND',
      () => {
        const Desk = withHandler(OnPush('tick'), UseGuards(NoteGuard) as MethodDecorator);
        return { imports: [desk()], providers: [{ provide: Desk, useFactory: () => new Desk() }] };
      },
    ],
    [
      'whose handler has a pattern that cannot be',
      'INVALID_OPTION',
      () => ({ imports: [desk()], providers: [withHandler(OnPush('a.>.b', { wildcards: true }))] }),
    ],
  ])('%s', async (_name, code, parts) => {
    await expect(startApp(parts())).rejects.toMatchObject({ code });
  });

  it('with two clients of one name', async () => {
    expect(() => UnixSocketModule.forClient({ name: 'desk', path }, { name: 'desk', path })).toThrow(
      DuplicateClientError,
    );
    await expect(startApp({ imports: [desk(), desk()] })).rejects.toThrow(DuplicateClientError);

    const shared = desk();
    @Module({ imports: [shared] })
    class Feature {}
    await expect(startApp({ imports: [shared, Feature] })).resolves.toBeDefined();
  });

  it('says the handler and what there is', async () => {
    const Desk = withHandler(OnPush('tick', { client: 'dusk' }));
    const error: unknown = await startApp({ imports: [desk()], providers: [Desk] }).catch(
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(InvalidHandlerError);
    expect(error).toMatchObject({
      handler: 'Desk.onTick',
      message: expect.stringMatching(/no client named "dusk".*there are: "desk"/) as unknown,
    });
  });

  it('but only says so where @OnPush is used and UnixSocketModule is not imported', async () => {
    const client = { name: 'DESK', customClass: UnixSocketClientProxy, options: { path } };
    const Lonely = withHandler(OnPush('tick'));
    Object.defineProperty(Lonely, 'name', { value: 'Lonely' });
    await startApp({ imports: [ClientsModule.register([client])], providers: [Lonely] });
    expect(logged).toHaveBeenCalledWith(expect.stringMatching(/Lonely.*UnixSocketModule\.forClient\(\)/));
    logged.mockClear();
    withHandler(OnPush('of a class that no app has'));
    await startApp({
      imports: [ClientsModule.register([client]), UnixSocketModule.forClient()],
      providers: [Lonely],
    });
    expect(logged).not.toHaveBeenCalled();
  });
});
