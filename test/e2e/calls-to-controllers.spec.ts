import 'reflect-metadata';
import {
  Catch,
  Controller,
  Inject,
  Injectable,
  Module,
  ParseIntPipe,
  Scope,
  UseFilters,
  UseGuards,
  UseInterceptors,
  type CallHandler,
  type CanActivate,
  type ExecutionContext,
  type NestInterceptor,
  type RpcExceptionFilter,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Ctx, MessagePattern, Payload, RpcException, type BaseRpcContext } from '@nestjs/microservices';
import {
  getUnixSocketClientTransport,
  getUnixSocketClientToken,
  OnRequest,
  RemoteError,
  Signal,
  UnixSocketClientContext,
  UnixSocketClientProxy,
  UnixSocketContext,
  UnixSocketModule,
  UnixSocketServer,
  type ClientConnection,
} from 'nestjs-unix-socket';
import {
  concat,
  EMPTY,
  firstValueFrom,
  from,
  lastValueFrom,
  map,
  Observable,
  of,
  take,
  throwError,
  toArray,
} from 'rxjs';
import { atEnd } from '../support/at-end.js';
import { addressOf, Journal } from '../support/nest-apps.js';
import { rejectionOf } from '../support/rejection.js';
import { tempSocketPath } from '../support/temp-paths.js';

const journal = new Journal();
afterEach(() => journal.clear());

class NoStrangers implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const rpc = context.switchToRpc();
    const meta = rpc.getContext<UnixSocketClientContext>().getMetadata();
    return context.getType() === 'rpc' && meta?.['who'] === 'friend';
  }
}

class Doubling implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(map((value) => [value, value]));
  }
}

@Catch(TypeError)
class TypeErrorFilter implements RpcExceptionFilter<TypeError> {
  catch(error: TypeError): Observable<never> {
    return throwError(() => ({ code: 'TYPED', message: `filtered: ${error.message}` }));
  }
}

@Injectable({ scope: Scope.REQUEST })
class PerCall {
  static made = 0;
  readonly number = ++PerCall.made;
}

@Controller()
class FarmController {
  constructor(@Inject(PerCall) private readonly perCall: PerCall) {}

  @OnRequest('pipe', { client: 'farm' })
  pipe(@Payload('size', ParseIntPipe) size: number): number {
    return size + 1;
  }

  @UseGuards(NoStrangers)
  @OnRequest('guard', { client: 'farm' })
  guard(): string {
    return 'come in';
  }

  @UseInterceptors(Doubling)
  @OnRequest('intercept', { client: 'farm' })
  intercept(@Payload() data: unknown): unknown {
    return data;
  }

  @UseFilters(TypeErrorFilter)
  @OnRequest('filter', { client: 'farm' })
  filter(): never {
    throw new TypeError('not that');
  }

  @OnRequest('scope', { client: 'farm' })
  scope(): number {
    return this.perCall.number;
  }
}

@Controller()
class StreamsController {
  @OnRequest({ cmd: 'count' }, { client: 'farm' })
  count(@Payload() to: number): Observable<number> {
    return from(Array.from({ length: to }, (_, i) => i));
  }

  @OnRequest('endless', { client: 'farm' })
  endless(@Signal() signal: AbortSignal): Observable<number> {
    signal.addEventListener('abort', () => journal.add('signal'));
    return new Observable<number>((subscriber) => {
      subscriber.next(1);
      return () => journal.add('teardown');
    });
  }

  @OnRequest('breaks', { client: 'farm' })
  breaks(): Observable<unknown> {
    return concat(
      of(1, 2),
      throwError(() => new RpcException({ code: 'BROKEN', message: 'half way', at: 3 })),
    );
  }

  @OnRequest('nothing', { client: 'farm' })
  nothing(): Observable<never> {
    return EMPTY;
  }

  @OnRequest('throws', { client: 'farm' })
  throws(): never {
    throw new Error('a secret');
  }

  @OnRequest('context', { client: 'farm' })
  async context(@Ctx() context: UnixSocketClientContext): Promise<unknown> {
    return {
      kind: context.constructor.name,
      pattern: context.getPattern(),
      meta: context.getMetadata(),
      id: typeof context.getRequestId(),
      asked: await context.getClient().request('whoami', null),
      isAborted: context.signal.aborted,
    };
  }

  @MessagePattern('mine', getUnixSocketClientTransport('other'))
  ofOther(): string {
    return 'of the other client';
  }

  @OnRequest('mine', { client: 'farm' })
  ofFarm(): string {
    return 'of farm';
  }

  @MessagePattern('anybody')
  anybody(@Ctx() context: BaseRpcContext): string {
    return context.constructor.name;
  }
}

@Controller()
class ServerController {
  @MessagePattern('whoami')
  whoAmI(@Ctx() context: UnixSocketContext): Promise<unknown> {
    return context.getConnection().request('mine', null);
  }
}

@Module({ controllers: [FarmController, StreamsController], providers: [PerCall] })
class WorkerModule {}

@Module({ controllers: [ServerController] })
class ServerModule {}

/** A Nest server whose clients are Nest apps of `WorkerModule`; `farm` and `other` as the server sees them. */
async function start(where: object = { path: tempSocketPath() }) {
  const server = new UnixSocketServer({ drainTimeoutMs: 500, ...where });
  const app = await NestFactory.createMicroservice(ServerModule, { strategy: server, logger: false });
  await app.listen();
  atEnd(() => app.close());
  const connections = new Map<string, ClientConnection>();
  const both = new Promise<void>((resolve) => {
    server.on('callable', (connection) => {
      connections.set(connection.accountId as string, connection);
      if (connections.size === 2) resolve();
    });
  });
  const client = (name: string): UnixSocketClientProxy =>
    new UnixSocketClientProxy({ ...addressOf(server), name, accountId: name, drainTimeoutMs: 500 });
  const worker = await NestFactory.create(WorkerModule, { logger: false });
  atEnd(() => worker.close());
  const farmClient = client('farm').handle('plain', (data: number) => data * 2);
  worker.connectMicroservice({ strategy: farmClient.handlers });
  worker.connectMicroservice({ strategy: client('other').handlers });
  await worker.startAllMicroservices();
  await both;
  return {
    server,
    worker,
    farmClient,
    farm: connections.get('farm') as ClientConnection,
    other: connections.get('other') as ClientConnection,
  };
}

describe.each([
  ['a Unix socket', (): object => ({ path: tempSocketPath() })],
  ['TCP', (): object => ({ port: 0 })],
])('Controllers that a server calls over %s', (_name, where) => {
  it('run with pipes', async () => {
    const { farm } = await start(where());
    expect(await farm.request('pipe', { size: '41' })).toBe(42);
    expect(await rejectionOf(farm.request('pipe', { size: 'many' }))).toBeInstanceOf(RemoteError);
  });

  it('run with guards, interceptors, filters and request scope', async () => {
    const { farm } = await start(where());
    expect(await farm.request('guard', null, { meta: { who: 'friend' } })).toBe('come in');
    expect(await rejectionOf(farm.request('guard', null))).toMatchObject({ message: 'Forbidden resource' });
    expect(await farm.request('intercept', 7)).toEqual([7, 7]);
    expect(await rejectionOf(farm.request('filter', null))).toMatchObject({
      code: 'TYPED',
      message: 'filtered: not that',
      payload: { code: 'TYPED', message: 'filtered: not that' },
    });
    const [one, two] = [await farm.request<number>('scope', null), await farm.request<number>('scope', null)];
    expect(two).toBe(one + 1);
  });

  it('stream, fail as Nest handlers do, and stop when nobody listens', async () => {
    const { farm, server } = await start(where());
    expect(await lastValueFrom(server.stream(farm, { cmd: 'count' }, 4).pipe(toArray()))).toEqual([
      0, 1, 2, 3,
    ]);
    expect(await farm.request('{"cmd":"count"}', 4)).toBe(3);
    expect(await lastValueFrom(server.stream(farm, 'nothing', null), { defaultValue: 'none' })).toBe('none');
    const values: unknown[] = [];
    const failure = lastValueFrom(
      server.stream(farm, 'breaks', null).pipe(map((value) => values.push(value))),
    );
    expect(await rejectionOf(failure)).toMatchObject({
      code: 'BROKEN',
      payload: { at: 3 },
      delivery: 'replied',
    });
    expect(values).toEqual([1, 2]);
    expect(await rejectionOf(farm.request('throws', null))).toMatchObject({
      message: 'Internal server error',
    });

    expect(await firstValueFrom(server.stream(farm, 'endless', null).pipe(take(1)))).toBe(1);
    expect(await journal.have(2)).toEqual(['signal', 'teardown']);
    expect(await rejectionOf(lastValueFrom(server.stream(farm, 'endless', undefined)))).toMatchObject({
      code: 'UNENCODABLE_VALUE',
    });
  });
});

describe('Handlers of a client', () => {
  it('know what they are called over, and call back', async () => {
    const { farm } = await start();
    expect(await farm.request('context', null, { meta: { trace: 't' } })).toEqual({
      kind: 'UnixSocketClientContext',
      pattern: 'context',
      meta: { trace: 't' },
      id: 'string',
      asked: 'of farm',
      isAborted: false,
    });
  });

  it('belong to one client by its name, or to all without a transport', async () => {
    const { farm, other } = await start();
    expect([await farm.request('mine', null), await other.request('mine', null)]).toEqual([
      'of farm',
      'of the other client',
    ]);
    expect(await farm.request('anybody', null)).toBe('UnixSocketClientContext');
    expect(await rejectionOf(other.request('pipe', { size: 1 }))).toMatchObject({ code: 'UNKNOWN_PATTERN' });
    expect(await farm.request('plain', 4)).toBe(8);
  });

  it('end with their app, whose calls are finished first', async () => {
    const { farm, worker, farmClient } = await start();
    let open!: (value: string) => void;
    farmClient.handle('slow', () => new Promise((resolve) => (open = resolve)));
    const slow = farm.request('slow', null);
    while (farmClient.getStats().inFlight === 0) await new Promise(setImmediate);
    const closing = worker.close();
    open('finished');
    expect(await slow).toBe('finished');
    await closing;
    expect(farmClient.isConnected()).toBe(false);
    expect(await farmClient.close()).toEqual({ unanswered: 0, notSent: 0, cancelled: 0 });
  });

  it('of a named client of the module run without further words', async () => {
    const path = tempSocketPath();
    @Controller()
    class Named {
      @OnRequest('hello', { client: 'desk' })
      hello(): string {
        return 'from desk';
      }
    }
    @Module({
      controllers: [Named],
      imports: [
        UnixSocketModule.forRoot({ path, drainTimeoutMs: 500 }),
        UnixSocketModule.forClient({ name: 'desk', path }),
      ],
    })
    class AppModule {}
    const app = await NestFactory.create(AppModule, { logger: false });
    atEnd(() => app.close());
    const server = app.get(UnixSocketServer);
    const client = app.get<UnixSocketClientProxy>(getUnixSocketClientToken('desk'), { strict: false });
    const callable = new Promise<ClientConnection>((resolve) => server.on('callable', resolve));
    app.connectMicroservice({ strategy: client.handlers });
    app.connectMicroservice({ strategy: server });
    await app.startAllMicroservices();
    expect(await (await callable).request('hello', null)).toBe('from desk');
  });
});
