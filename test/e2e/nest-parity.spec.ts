import { BadRequestException, type Type } from '@nestjs/common';
import {
  ContextIdFactory,
  type ContextId,
  type ContextIdResolver,
  type HostComponentInfo,
} from '@nestjs/core';
import { RpcException } from '@nestjs/microservices';
import { RemoteError, RequestTimeoutError, type UnixSocketClientProxy } from 'nestjs-unix-socket';
import {
  concat,
  defer,
  delay,
  EMPTY,
  firstValueFrom,
  forkJoin,
  from,
  interval,
  lastValueFrom,
  map,
  of,
  range,
  take,
  throwError,
  timer,
  toArray,
  type Observable,
} from 'rxjs';
import {
  closeAll,
  freePort,
  Journal,
  newClient,
  newServer,
  observe,
  onNestTcp,
  onOurTcp,
  onUnixSocket,
  serve,
  type Client,
  type Observed,
  type Service,
} from '../support/nest-apps.js';
import { GlobalModule, ParityModule, results, useGlobals } from '../support/nest-parity-module.js';
import { tempSocketPath } from '../support/temp-paths.js';

// jest itself fails a test during which a promise is rejected and nobody listens, so every test here checks that.

type Trio<T> = { readonly nestTcp: T; readonly unixSocket: T; readonly ourTcp: T };
type Call = (client: Client) => Observable<unknown>;
type Row = readonly [name: string, call: Call, expected: Observed];

const LAUNCHES = { nestTcp: onNestTcp, unixSocket: onUnixSocket, ourTcp: onOurTcp };
const INTERNAL = { status: 'error', message: 'Internal server error' };

/** The same on every transport. */
function alike<T>(value: T): Trio<T> {
  return { nestTcp: value, unixSocket: value, ourTcp: value };
}

async function onEach<A, B>(trio: Trio<A>, act: (of: A) => Promise<B>): Promise<Trio<B>> {
  const { nestTcp, unixSocket, ourTcp } = trio;
  const [one, two, three] = await Promise.all([act(nestTcp), act(unixSocket), act(ourTcp)]);
  return { nestTcp: one, unixSocket: two, ourTcp: three };
}

function completes(...values: unknown[]): Observed {
  return { values, end: 'complete' };
}

function fails(error: unknown, ...values: unknown[]): Observed {
  return { values, end: { error } };
}

function launchEach(...[module, setUp, server]: Parameters<typeof onNestTcp>): Promise<Trio<Service>> {
  return onEach(LAUNCHES, (launch) => launch(module, setUp, server));
}

interface Connected {
  readonly client: Client;
  readonly journal: Journal;
}

/** One app and one client on each transport for all tests of a `describe`. */
function connected(
  module: Type,
  setUp?: Parameters<typeof onNestTcp>[1],
  options: { server?: object; client?: object } = {},
): Trio<Connected> {
  const trio = {} as { -readonly [K in keyof Trio<Connected>]: Connected };
  beforeAll(async () => {
    const services = await launchEach(module, setUp, options.server);
    for (const transport of ['nestTcp', 'unixSocket', 'ourTcp'] as const) {
      const { app, client } = services[transport];
      trio[transport] = {
        client: client(options.client),
        journal: app.get(Journal, { strict: false }),
      };
    }
  });
  afterAll(closeAll);
  beforeEach(() => {
    for (const { journal } of Object.values(trio)) journal.clear();
  });
  return trio;
}

function rows(trio: Trio<Connected>, table: readonly Row[]): void {
  it.each(table)('%s', async (_name, call, expected) => {
    expect(await onEach(trio, ({ client }) => observe(call(client)))).toStrictEqual(alike(expected));
  });
}

describe('What Nest handlers do, on Nest TCP and on our endpoints', () => {
  describe('results of handlers', () => {
    const trio = connected(ParityModule);
    const tick = (value: unknown): Observable<unknown> => of(value).pipe(delay(2));

    const table: readonly (readonly [name: string, result: () => unknown, expected: Observed])[] = [
      ['an object', () => ({ a: 1, b: { c: ['x', null] } }), completes({ a: 1, b: { c: ['x', null] } })],
      ['a text', () => 'text', completes('text')],
      ['a text beyond ASCII', () => 'käse 汉字 🎉 \u2028', completes('käse 汉字 🎉 \u2028')],
      ['an empty text', () => '', completes('')],
      ['zero', () => 0, completes(0)],
      ['false', () => false, completes(false)],
      ['an empty array', () => [], completes([])],
      ['an empty object', () => ({}), completes({})],
      ['null', () => null, completes(null)],
      ['nothing', () => undefined, completes()],
      [
        'what JSON changes',
        () => ({
          at: new Date(0),
          not: NaN,
          gone: undefined,
          list: [undefined],
          made: { toJSON: () => 'text' },
        }),
        completes({ at: '1970-01-01T00:00:00.000Z', not: null, list: [null], made: 'text' }),
      ],
      [
        'keys of every prototype',
        () => JSON.parse('{"__proto__":1,"constructor":2}'),
        completes(JSON.parse('{"__proto__":1,"constructor":2}')),
      ],
      ['a promise of a value', () => Promise.resolve(1), completes(1)],
      ['a promise of null', () => Promise.resolve(null), completes(null)],
      ['a promise of nothing', () => Promise.resolve(), completes()],
      [
        'a promise kept later',
        () => new Promise((resolve) => setTimeout(resolve, 5, 'late')),
        completes('late'),
      ],
      ['a stream of nothing', () => EMPTY, completes()],
      ['a stream that ends later without a value', () => timer(5).pipe(take(0)), completes()],
      ['a stream of one', () => of(1), completes(1)],
      ['a stream of one, later', () => tick('later'), completes('later')],
      ['a stream of null', () => of(null), completes(null)],
      ['a stream of undefined', () => of(undefined), completes()],
      ['a stream of three', () => of(1, 2, 3), completes(1, 2, 3)],
      ['a stream of falsy values', () => of(0, '', false, null), completes(0, '', false, null)],
      ['a stream with pauses', () => interval(2).pipe(take(4)), completes(0, 1, 2, 3)],
      ['a stream of bursts', () => concat(of(1, 2), tick(3), of(4, 5), tick(6)), completes(1, 2, 3, 4, 5, 6)],
      [
        'a stream of a thousand',
        () => range(0, 1000).pipe(toArray()),
        completes(Array.from({ length: 1000 }, (_, i) => i)),
      ],
      ['a promise of a stream', () => Promise.resolve(of('a', 'b')), completes('a', 'b')],
      ['a stream of a promise', () => from(Promise.resolve('kept')), completes('kept')],
      ['a stream begun on subscription', () => defer(() => of(1, 2)), completes(1, 2)],
      [
        'an error after two values',
        () =>
          concat(
            of(1, 2),
            throwError(() => new RpcException('enough')),
          ),
        fails({ status: 'error', message: 'enough' }, 1, 2),
      ],
      [
        'an error after two values and a pause',
        () =>
          concat(
            of(1),
            tick(2),
            tick(0).pipe(
              map(() => {
                throw new RpcException({ code: 'E' });
              }),
            ),
          ),
        fails({ code: 'E' }, 1, 2),
      ],
      [
        'a plain error after a value',
        () =>
          concat(
            of(1),
            throwError(() => new Error('secret')),
          ),
        fails(INTERNAL, 1),
      ],
      [
        'a stream of nothing but an error',
        () => throwError(() => new RpcException('at once')),
        fails({ status: 'error', message: 'at once' }),
      ],
      [
        'a promise of a failing stream',
        () => Promise.resolve(throwError(() => new RpcException('in it'))),
        fails({ status: 'error', message: 'in it' }),
      ],
    ];

    beforeAll(() => {
      results.length = 0;
      results.push(...table.map(([, result]) => result));
    });

    rows(
      trio,
      table.map(([name, , expected], index) => [name, (client) => client.send('returns', index), expected]),
    );
  });

  describe('errors of handlers', () => {
    const trio = connected(ParityModule);
    class LimitException extends RpcException {
      constructor(readonly limit: number) {
        super({ code: 'LIMIT', limit, details: { retryAfterMs: 5 } });
      }
    }

    const table: readonly (readonly [name: string, error: () => unknown, payload: unknown])[] = [
      ['an RpcException of a text', () => new RpcException('a text'), { status: 'error', message: 'a text' }],
      ['an RpcException of an empty text', () => new RpcException(''), { status: 'error', message: '' }],
      [
        'an RpcException of an object',
        () => new RpcException({ code: 17, nested: { why: ['x'] } }),
        { code: 17, nested: { why: ['x'] } },
      ],
      [
        'an RpcException of an object like an error',
        () => new RpcException({ message: 'm', code: 'C', details: { d: 1 } }),
        { message: 'm', code: 'C', details: { d: 1 } },
      ],
      ['an RpcException of an empty object', () => new RpcException({}), {}],
      ['an RpcException of an array', () => new RpcException(['a', 'b']), ['a', 'b']],
      ['an RpcException of an error', () => new RpcException(new Error('inside')), {}],
      [
        'an RpcException with undefined in it',
        () => new RpcException({ message: 'm', gone: undefined }),
        { message: 'm' },
      ],
      [
        'an RpcException of a kind of its own',
        () => new LimitException(3),
        { code: 'LIMIT', limit: 3, details: { retryAfterMs: 5 } },
      ],
      ['a plain Error', () => new Error('not for callers'), INTERNAL],
      ['an HttpException', () => new BadRequestException('nor this'), INTERNAL],
      ['a text', () => 'thrown text', INTERNAL],
      ['null', () => null, INTERNAL],
    ];

    describe.each(['thrown', 'rejected with', 'in a stream'])('%s', (way) => {
      beforeAll(() => {
        results.length = 0;
        for (const [, error] of table) {
          results.push(() => {
            if (way === 'rejected with') return Promise.reject(error());
            if (way === 'in a stream') return throwError(error);
            throw error();
          });
        }
      });

      rows(
        trio,
        table.map(([name, , payload], index) => [
          name,
          (client) => client.send('returns', index),
          fails(payload),
        ]),
      );
    });
  });

  describe('payloads and patterns', () => {
    const big = { text: 'x'.repeat(1_900_000), list: Array.from({ length: 5_000 }, (_, i) => ({ i })) };
    const deep = JSON.parse('['.repeat(200) + ']'.repeat(200)) as unknown;

    rows(connected(ParityModule), [
      ...(
        [
          0,
          '',
          false,
          [],
          {},
          'text',
          { a: [1, { b: null }] },
          '汉字 🎉',
          '\ud800 alone',
          1e21,
          -0.5,
        ] as const
      ).map((data): Row => [
        `payload ${JSON.stringify(data)}`,
        (client) => client.send('echo', data),
        completes(data),
      ]),
      [
        'a payload with what JSON changes',
        (client) => client.send('echo', { at: new Date(0), gone: undefined, not: Infinity }),
        completes({ at: '1970-01-01T00:00:00.000Z', not: null }),
      ],
      ['a payload of 2 MB', (client) => client.send('echo', big), completes(big)],
      ['a payload of 200 levels', (client) => client.send('echo', deep), completes(deep)],
      [
        'one field of the payload',
        (client) => client.send('field', { name: 'Ann', age: 3 }),
        completes({ name: 'Ann' }),
      ],
      ['a field that is missing', (client) => client.send('field', {}), completes({})],
      ['an object pattern', (client) => client.send({ cmd: 'sum', version: 1 }, [1, 2, 3]), completes(6)],
      [
        'an object pattern with its keys in another order',
        (client) => client.send({ version: 1, cmd: 'sum' }, [4]),
        completes(4),
      ],
      [
        'an object pattern as its JSON',
        (client) => client.send('{"version":1,"cmd":"sum"}', [5]),
        completes(5),
      ],
      [
        'a nested object pattern',
        (client) => client.send({ deep: { a: true, b: [1, 'two'] } }, {}),
        completes('deep'),
      ],
      ['a number pattern', (client) => client.send(7, {}), completes('seven')],
      ['a number pattern as text', (client) => client.send('7', {}), completes('seven')],
      ['a text among several patterns', (client) => client.send('first', {}), completes('one of several')],
      [
        'an object among several patterns',
        (client) => client.send({ cmd: 'second' }, {}),
        completes('one of several'),
      ],
      ['a number among several patterns', (client) => client.send(3, {}), completes('one of several')],
      ['a pattern of unusual characters', (client) => client.send('ünï/*."\\> ', {}), completes('unusual')],
      [
        'many calls at once',
        (client) => forkJoin(Array.from({ length: 100 }, (_, i) => client.send<unknown>('echo', { i }))),
        completes(Array.from({ length: 100 }, (_, i) => ({ i }))),
      ],
    ]);
  });

  describe('what callers do', () => {
    const trio = connected(ParityModule);

    rows(trio, [
      [
        'nothing is sent before a subscription, and one call for each',
        (client) => {
          const call = client.send<unknown>('request', 'once');
          return concat(call, call);
        },
        completes('once', 'once'),
      ],
      [
        'the first value is enough',
        (client) => from(firstValueFrom(client.send<unknown>('returns', 0))),
        completes(0),
      ],
      [
        'the last value is enough',
        (client) => from(lastValueFrom(client.send<unknown>('returns', 1))),
        completes(3),
      ],
      [
        'a subscription that ends early',
        (client) => client.send<unknown>('returns', 0).pipe(take(2)),
        completes(0, 1),
      ],
    ]);
    beforeAll(() => {
      results.splice(
        0,
        results.length,
        () => interval(1).pipe(take(50)),
        () => of(1, 2, 3),
      );
    });

    it('sends nothing for an Observable nobody subscribes to', async () => {
      const seen = await onEach(trio, async ({ client, journal }) => {
        client.send('request', 'never sent');
        await observe(client.send('request', 'sent'));
        return journal.entries;
      });
      expect(seen).toStrictEqual(alike([['request', 'sent']]));
    });

    it.each([
      ['send', 'undefined as data', 'echo', undefined],
      ['send', 'undefined as pattern', undefined, 1],
      ['send', 'null as pattern', null, 1],
      ['emit', 'undefined as data', 'noted', undefined],
      ['emit', 'null as pattern', null, 1],
    ] as const)('%s refuses %s', async (method, _what, pattern, data) => {
      const names = await onEach(trio, async ({ client }) => {
        const { values, end } = await observe(client[method](pattern, data));
        return {
          values,
          name: (end as { error: Error }).error.name,
          message: (end as { error: Error }).error.message,
        };
      });
      expect(names).toStrictEqual(
        alike({ values: [], ...{ name: names.nestTcp.name, message: names.nestTcp.message } }),
      );
      expect(names.nestTcp.message).toMatch(/invalid/i);
    });
  });

  describe('events', () => {
    const trio = connected(ParityModule);

    it.each<[name: string, pattern: unknown, data: unknown, noted: unknown[]]>([
      ['one handler', 'noted', { a: 1 }, [['noted', { a: 1 }]]],
      ['falsy data', 'noted', 0, [['noted', 0]]],
      [
        'two handlers of one pattern',
        'shared',
        'x',
        [
          ['first', 'x'],
          ['second', 'x'],
        ],
      ],
      ['an object pattern', { event: 'object' }, 'x', [['object', 'x']]],
      ['a number pattern', 9, 'x', [['nine', 'x']]],
      [
        'a handler that returns a stream, which is subscribed',
        'lazy',
        'x',
        [
          ['subscribed', 'x'],
          ['value', 1],
          ['value', 2],
        ],
      ],
      ['a handler that throws', 'fails', 'x', [['about to fail']]],
      ['a handler whose stream fails', 'failsLater', 'x', [['about to fail later']]],
      ['a handler of messages', 'request', 'x', [['request', 'x']]],
      ['a request-scoped handler', 'scoped.event', 'x', [['scoped', 'x', 1]]],
      [
        'an ordinary and a request-scoped handler of one pattern',
        'shared.scoped',
        'x',
        [
          ['single', 'x', 1],
          ['scoped', 'x', 1],
        ],
      ],
    ])('%s', async (_name, pattern, data, noted) => {
      const seen = await onEach(trio, async ({ client, journal }) => {
        const emitted = await observe(client.emit(pattern, data));
        await journal.have(noted.length);
        // Whatever came of it, the connection and the server are well.
        return { emitted, noted: [...journal.entries], after: await observe(client.send('echo', 'well')) };
      });
      expect(seen).toStrictEqual(alike({ emitted: completes(undefined), noted, after: completes('well') }));
    });

    it('an event is sent although nobody subscribes', async () => {
      const seen = await onEach(trio, async ({ client, journal }) => {
        client.emit('noted', 'unsubscribed');
        return journal.have(1);
      });
      expect(seen).toStrictEqual(alike([['noted', 'unsubscribed']]));
    });

    it('an event nobody handles is dropped', async () => {
      const seen = await onEach(trio, async ({ client }) => [
        await observe(client.emit('unheard of', 1)),
        await observe(client.send('echo', 'well')),
      ]);
      expect(seen).toStrictEqual(alike([completes(undefined), completes('well')]));
    });
  });

  describe('local enhancers', () => {
    rows(connected(ParityModule), [
      ['a pipe changes the payload', (client) => client.send('local.pipe', 21), completes(42)],
      [
        'a pipe refuses',
        (client) => client.send('local.pipe', 'x'),
        fails({ message: 'a number, please', got: 'x' }),
      ],
      ['a pipe of one field', (client) => client.send('local.parse', { id: '17' }), completes({ id: 17 })],
      [
        'a pipe throws an HttpException',
        (client) => client.send('local.parse', { id: 'x' }),
        fails(INTERNAL),
      ],
      ['a guard lets in', (client) => client.send('local.guard', 'pass'), completes('let in')],
      [
        'a guard refuses',
        (client) => client.send('local.guard', 'no'),
        fails({ status: 'error', message: 'Forbidden resource' }),
      ],
      [
        'a guard refuses later',
        (client) => client.send('local.guard', 'later'),
        fails({ status: 'error', message: 'Forbidden resource' }),
      ],
      [
        'a guard throws',
        (client) => client.send('local.guard', 'throw'),
        fails({ status: 'error', message: 'the guard threw' }),
      ],
      [
        'an interceptor changes the result',
        (client) => client.send('local.interceptor', 1),
        completes({ wrapped: 1 }),
      ],
      [
        'an interceptor changes every value',
        (client) => client.send('local.interceptor', 'stream'),
        completes({ wrapped: 1 }, { wrapped: 2 }, { wrapped: 3 }),
      ],
      [
        'an interceptor sees no value',
        (client) => client.send('local.interceptor', 'nothing'),
        completes({}),
      ],
      [
        'an interceptor answers by itself',
        (client) => client.send('local.interceptor', 'cached'),
        completes('from the cache'),
      ],
      [
        'an interceptor catches',
        (client) => client.send('local.interceptor', 'throw'),
        completes({ caught: 'in the handler' }),
      ],
      [
        'a filter changes a thrown error',
        (client) => client.send('local.filter', { kind: 'boo' }),
        fails({ filtered: 'boo' }),
      ],
      [
        'a filter changes a rejection',
        (client) => client.send('local.filter', { kind: 'boo', via: 'promise' }),
        fails({ filtered: 'boo' }),
      ],
      [
        'a filter changes the error of a stream',
        (client) => client.send('local.filter', { kind: 'boo', via: 'stream' }),
        fails({ filtered: 'boo' }),
      ],
      [
        'a filter errors with a text',
        (client) => client.send('local.filter', { kind: 'text' }),
        fails('just a text'),
      ],
      [
        'a filter errors with a number',
        (client) => client.send('local.filter', { kind: 'number' }),
        fails(42),
      ],
      [
        'a filter recovers',
        (client) => client.send('local.filter', { kind: 'recover' }),
        completes('recovered'),
      ],
      [
        'a filter is not for this error',
        (client) => client.send('local.filter', { kind: 'other' }),
        fails(INTERNAL),
      ],
    ]);
  });

  describe('global enhancers', () => {
    const call =
      (pattern: string, stop?: string): Call =>
      (client) =>
        client.send(pattern, { trail: [], stop });
    const before = [
      'global guard',
      'local guard',
      'global interceptor',
      'scoped interceptor, call 1',
      'local interceptor',
      'global pipe',
      'local pipe',
    ];
    const after = ['local interceptor again', 'global interceptor again'];

    rows(connected(GlobalModule, useGlobals), [
      ['run in the order of Nest', call('trail'), completes({ trail: [...before, 'handler', ...after] })],
      [
        'run for every value of a stream',
        call('trail.stream'),
        completes({ trail: [...before, 'first', ...after] }, { trail: [...before, 'second', ...after] }),
      ],
      [
        'a global guard refuses',
        call('trail', 'global guard says no'),
        fails({ status: 'error', message: 'Forbidden resource' }),
      ],
      [
        'a global guard throws',
        call('trail', 'global guard'),
        fails({ stoppedBy: 'global guard', trail: before.slice(0, 1) }),
      ],
      [
        'a global interceptor throws',
        call('trail', 'global interceptor'),
        fails({ stoppedBy: 'global interceptor', trail: before.slice(0, 3) }),
      ],
      [
        'a global pipe throws',
        call('trail', 'global pipe'),
        fails({ stoppedBy: 'global pipe', trail: before.slice(0, 6) }),
      ],
      [
        'a global filter changes an error',
        call('trail', 'domain'),
        fails({ filteredGlobally: 'left to the global filter' }),
      ],
      ['a global filter is not for this error', call('trail', 'plain'), fails(INTERNAL)],
      [
        'a local filter comes before a global one',
        call('trail.filtered'),
        fails({ filtered: 'left to the local filter' }),
      ],
    ]);
  });

  describe('scopes', () => {
    const trio = connected(ParityModule);
    class ByTenant {
      private readonly tenants = new Map<string, ContextId>();

      attach(contextId: ContextId, request: { data?: { tenant?: string } }): ContextIdResolver | undefined {
        const tenant = request.data?.tenant;
        if (tenant === undefined) return undefined;
        const tenantId = this.tenants.get(tenant) ?? ContextIdFactory.create();
        this.tenants.set(tenant, tenantId);
        return {
          resolve: (info: HostComponentInfo) => (info.isTreeDurable ? tenantId : contextId),
          payload: { tenant },
        };
      }
    }

    beforeAll(() => ContextIdFactory.apply(new ByTenant() as never));

    rows(trio, [
      [
        'a request-scoped controller is made for each call',
        (client) => concat(client.send('scoped', 'a'), client.send('scoped', 'b')),
        completes({ call: 1, pattern: 'scoped', data: 'a' }, { call: 1, pattern: 'scoped', data: 'b' }),
      ],
      [
        'a stream of a request-scoped controller',
        (client) => client.send({ cmd: 'scoped' }, 1),
        completes({ cmd: 'scoped' }, 1),
      ],
      [
        'a request-scoped controller that cannot be made',
        (client) => client.send('scoped', 'no instance'),
        fails({ status: 'error', message: 'the constructor threw' }),
      ],
      [
        'a durable provider is kept for each tenant',
        (client) => concat(...['a', 'a', 'b', 'a'].map((tenant) => client.send('durable', { tenant }))),
        completes(
          { tenant: 'a', visits: 1 },
          { tenant: 'a', visits: 2 },
          { tenant: 'b', visits: 1 },
          { tenant: 'a', visits: 3 },
        ),
      ],
    ]);
  });

  describe('custom serializers and deserializers', () => {
    const wrap = { serialize: (packet: unknown) => ({ version: 1, packet }) };
    const unwrap = { deserialize: (value: { packet: unknown }) => value.packet };
    const table: readonly Row[] = [
      ['a value', (client) => client.send('echo', { a: 1 }), completes({ a: 1 })],
      ['a falsy value', (client) => client.send('echo', 0), completes(0)],
      ['null', (client) => client.send('returns', 0), completes(null)],
      ['nothing', (client) => client.send('returns', 1), completes()],
      ['a stream', (client) => client.send('returns', 2), completes(1, 2, 3)],
      ['a stream with pauses', (client) => client.send('returns', 3), completes(0, 1, 2)],
      ['an error', (client) => client.send('returns', 4), fails({ code: 'E', nested: [1] })],
      [
        'an error after two values',
        (client) => client.send('returns', 5),
        fails({ status: 'error', message: 'enough' }, 1, 2),
      ],
      ['a plain error', (client) => client.send('returns', 6), fails(INTERNAL)],
      ['an object pattern', (client) => client.send({ version: 1, cmd: 'sum' }, [1, 2]), completes(3)],
      ['a number pattern', (client) => client.send(7, {}), completes('seven')],
      [
        'calls at once',
        (client) => forkJoin([1, 2, 3].map((i) => client.send<unknown>('echo', i))),
        completes([1, 2, 3]),
      ],
    ];

    beforeAll(() => {
      results.splice(
        0,
        results.length,
        () => null,
        () => undefined,
        () => of(1, 2, 3),
        () => interval(2).pipe(take(3)),
        () => new Promise((_, reject) => reject(new RpcException({ code: 'E', nested: [1] }))),
        () =>
          concat(
            of(1, 2),
            throwError(() => new RpcException('enough')),
          ),
        () => throwError(() => new Error('secret')),
      );
    });

    function events(trio: Trio<Connected>): void {
      it.each<[name: string, pattern: unknown, noted: unknown]>([
        ['an event', 'noted', ['noted', 'x']],
        ['an event of an object pattern', { event: 'object' }, ['object', 'x']],
      ])('%s', async (_name, pattern, noted) => {
        const seen = await onEach(trio, async ({ client, journal }) => {
          const emitted = await observe(client.emit(pattern, 'x'));
          return { emitted, noted: [...(await journal.have(1))] };
        });
        expect(seen).toStrictEqual(alike({ emitted: completes(undefined), noted: [noted] }));
      });
    }

    describe('that wrap packets whole, on both ends', () => {
      const both = { serializer: wrap, deserializer: unwrap };
      const trio = connected(ParityModule, undefined, { server: both, client: both });
      rows(trio, table);
      events(trio);

      it('also what request() sends and gets', async () => {
        for (const { client } of [trio.unixSocket, trio.ourTcp]) {
          const ours = client as UnixSocketClientProxy;
          expect(await ours.request('echo', { a: 1 })).toStrictEqual({ a: 1 });
          expect(await ours.request('returns', 1)).toBeUndefined();
          expect(await ours.request('returns', 2)).toBe(3);
          await expect(ours.request('returns', 4)).rejects.toMatchObject({
            payload: { code: 'E', nested: [1] },
          });
        }
      });
    });

    describe('that take their time', () => {
      const later = {
        deserialize: async (value: { packet: unknown }) => (await new Promise(setImmediate), value.packet),
      };
      const both = { serializer: wrap, deserializer: later };
      const trio = connected(ParityModule, undefined, { server: both, client: both });
      rows(trio, table);
      events(trio);
    });

    describe('that wrap requests only', () => {
      rows(
        connected(ParityModule, undefined, {
          server: { deserializer: unwrap },
          client: { serializer: wrap },
        }),
        table,
      );
    });

    describe('that wrap answers only', () => {
      rows(
        connected(ParityModule, undefined, {
          server: { serializer: wrap },
          client: { deserializer: unwrap },
        }),
        table,
      );
    });

    describe('that add keys', () => {
      const server = {
        deserializer: {
          deserialize: ({ tenant, ...packet }: Record<string, unknown>) => ({
            ...packet,
            data: { of: packet['data'], tenant },
          }),
        },
        serializer: { serialize: (packet: object) => ({ ...packet, servedBy: 's1' }) },
      };
      const client = {
        serializer: { serialize: (packet: object) => ({ ...packet, tenant: 't1' }) },
        deserializer: {
          deserialize: ({ servedBy, ...packet }: Record<string, unknown>) =>
            'response' in packet ? { ...packet, response: { of: packet['response'], servedBy } } : packet,
        },
      };
      const trio = connected(ParityModule, undefined, { server, client });

      rows(trio, [
        ['a value', (c) => c.send('echo', 1), completes({ of: { of: 1, tenant: 't1' }, servedBy: 's1' })],
        [
          'a stream',
          (c) => c.send({ cmd: 'scoped' }, 1),
          completes({ of: { cmd: 'scoped' }, servedBy: 's1' }, { of: 1, servedBy: 's1' }),
        ],
        [
          'a falsy value',
          (c) => c.send('echo', ''),
          completes({ of: { of: '', tenant: 't1' }, servedBy: 's1' }),
        ],
        [
          'an error',
          (c) => c.send('local.pipe', 1),
          fails({ message: 'a number, please', got: { of: 1, tenant: 't1' } }),
        ],
      ]);

      it('an event', async () => {
        const seen = await onEach(trio, async ({ client: c, journal }) => {
          c.emit('noted', 1);
          return journal.have(1);
        });
        expect(seen).toStrictEqual(alike([['noted', { of: 1, tenant: 't1' }]]));
      });
    });

    describe('on one end only, that change what they are given', () => {
      const server = {
        deserializer: {
          deserialize: (packet: { data: unknown }) => ({ ...packet, data: { heard: packet.data } }),
        },
        serializer: {
          serialize: (packet: object) =>
            'response' in packet ? { ...packet, response: { said: packet.response } } : packet,
        },
      };
      const client = {
        serializer: {
          serialize: (packet: { data: unknown }) => ({ ...packet, data: { asked: packet.data } }),
        },
        deserializer: {
          deserialize: (packet: object) =>
            'response' in packet ? { ...packet, response: { understood: packet.response } } : packet,
        },
      };
      const fail: Row = [
        'an error',
        (c) => c.send('local.pipe', 'x'),
        fails({ message: 'a number, please', got: { asked: 'x' } }),
      ];

      describe('the server', () => {
        rows(connected(ParityModule, undefined, { server }), [
          ['a value', (c) => c.send('echo', 1), completes({ said: { heard: 1 } })],
          [
            'a stream',
            (c) => c.send({ cmd: 'scoped' }, 1),
            completes({ said: { cmd: 'scoped' } }, { said: 1 }),
          ],
        ]);
      });

      describe('the client', () => {
        rows(connected(ParityModule, undefined, { client }), [
          ['a value', (c) => c.send('echo', 1), completes({ understood: { asked: 1 } })],
          [
            'a stream',
            (c) => c.send({ cmd: 'scoped' }, 1),
            completes({ understood: { cmd: 'scoped' } }, { understood: 1 }),
          ],
          [
            'null',
            (c) => c.send('local.interceptor', 'x'),
            completes({ understood: { wrapped: { asked: 'x' } } }),
          ],
          fail,
        ]);
      });
    });

    describe('what they are shown', () => {
      afterEach(closeAll);

      /** Packets in the order they were shown, ids by their kind. */
      const spy = (shown: unknown[]): { serializer: object; deserializer: object } => {
        const note = (where: string) => (packet: object) => {
          const { id, ...rest } = packet as { id?: unknown };
          const copy = JSON.parse(JSON.stringify(rest)) as object;
          shown.push([
            where,
            'id' in packet ? { ...copy, id: id === undefined ? 'undefined' : typeof id } : copy,
          ]);
          return packet;
        };
        return {
          serializer: { serialize: note('serialize') },
          deserializer: { deserialize: note('deserialize') },
        };
      };

      async function shownFor(act: (connected: Connected) => Promise<unknown>): Promise<Trio<unknown>> {
        return onEach(LAUNCHES, async (launch) => {
          const onServer: unknown[] = [];
          const onClient: unknown[] = [];
          const service = await launch(ParityModule, undefined, spy(onServer));
          await act({ client: service.client(spy(onClient)), journal: service.app.get(Journal) });
          return { onServer, onClient };
        });
      }

      it.each<[name: string, act: (connected: Connected) => Promise<unknown>, shown: object]>([
        [
          'a value',
          ({ client }) => observe(client.send({ cmd: 'sum', version: 1 }, [1])),
          {
            onClient: [
              ['serialize', { pattern: { cmd: 'sum', version: 1 }, data: [1], id: 'string' }],
              ['deserialize', { response: 1, isDisposed: true, id: 'string' }],
            ],
            onServer: [
              ['deserialize', { pattern: { cmd: 'sum', version: 1 }, data: [1], id: 'string' }],
              ['serialize', { response: 1, isDisposed: true, id: 'string' }],
            ],
          },
        ],
        [
          'nothing',
          ({ client }) => observe(client.send('returns', 1)),
          {
            onClient: [
              ['serialize', { pattern: 'returns', data: 1, id: 'string' }],
              ['deserialize', { isDisposed: true, id: 'string' }],
            ],
            onServer: [
              ['deserialize', { pattern: 'returns', data: 1, id: 'string' }],
              ['serialize', { isDisposed: true, id: 'string' }],
            ],
          },
        ],
        [
          'an error',
          ({ client }) => observe(client.send('returns', 4)),
          {
            onClient: [
              ['serialize', { pattern: 'returns', data: 4, id: 'string' }],
              ['deserialize', { err: { code: 'E', nested: [1] }, isDisposed: true, id: 'string' }],
            ],
            onServer: [
              ['deserialize', { pattern: 'returns', data: 4, id: 'string' }],
              ['serialize', { err: { code: 'E', nested: [1] }, isDisposed: true, id: 'string' }],
            ],
          },
        ],
        [
          'an event',
          async ({ client, journal }) => [
            await observe(client.emit({ event: 'object' }, 1)),
            await journal.have(1),
          ],
          {
            onClient: [['serialize', { pattern: '{"event":"object"}', data: 1 }]],
            onServer: [['deserialize', { pattern: '{"event":"object"}', data: 1 }]],
          },
        ],
      ])('%s', async (_name, act, shown) => {
        expect(await shownFor(act)).toStrictEqual(alike(shown));
      });
    });

    describe('what a deserializer is shown of a server that has none', () => {
      afterEach(closeAll);

      it.each<[name: string, index: number, shown: object[]]>([
        ['a value', 0, [{ response: null, isDisposed: true }]],
        ['nothing', 1, [{ isDisposed: true }]],
        ['a stream with pauses', 3, [{ response: 0 }, { response: 1 }, { response: 2, isDisposed: true }]],
        ['an error', 4, [{ err: { code: 'E', nested: [1] }, isDisposed: true }]],
      ])('%s', async (_name, index, shown) => {
        const seen = await onEach(LAUNCHES, async (launch) => {
          const packets: object[] = [];
          const deserialize = (packet: { id?: string }): object => {
            const { id: _id, ...rest } = packet;
            packets.push(rest);
            return packet;
          };
          const client = (await launch(ParityModule)).client({ deserializer: { deserialize } });
          await observe(client.send('returns', index));
          return packets;
        });
        expect(seen).toStrictEqual(alike(shown));
      });
    });

    describe('that fail', () => {
      afterEach(closeAll);

      it('fail their call, and no other', async () => {
        const serializer = {
          serialize: (packet: { data: unknown }) => {
            if (packet.data === 'bad') throw new Error('not serializable');
            return packet;
          },
        };
        const seen = await onEach(LAUNCHES, async (launch) => {
          const client = (await launch(ParityModule)).client({ serializer });
          const { values, end } = await observe(client.send('echo', 'bad'));
          const { message } = (end as { error: Error }).error;
          return { values, message, next: await observe(client.send('echo', 'good')) };
        });
        expect(seen).toStrictEqual(
          alike({ values: [], message: 'not serializable', next: completes('good') }),
        );
      });
    });
  });
});

/** What is meant to differ from Nest TCP, and what Nest TCP cannot do at all. */
describe.each([
  ['a Unix socket', onUnixSocket, () => ({ path: tempSocketPath() })],
  ['our TCP endpoint', onOurTcp, async () => ({ port: await freePort() })],
])('What %s does besides', (_transport, launch, address) => {
  let client: UnixSocketClientProxy;
  let journal: Journal;

  beforeEach(async () => {
    const service = await launch(ParityModule);
    client = service.client() as UnixSocketClientProxy;
    journal = service.app.get(Journal);
  });
  afterEach(closeAll);

  const errorOf = (source: Observable<unknown>): Promise<unknown> =>
    lastValueFrom(source).then(
      () => undefined,
      (error: unknown) => error,
    );

  it.each<[name: string, pattern: unknown]>([
    ['a text', 'nobody knows this'],
    ['an object', { cmd: 'sum' }],
    ['a number', 8],
    ['a text that looks like JSON', '{"cmd":'],
    ['a key of every prototype', '__proto__'],
  ])('an unknown pattern, %s, is answered at once with the text of the protocol', async (_name, pattern) => {
    const error = await errorOf(client.send(pattern, {}));
    expect(error).toBeInstanceOf(RemoteError);
    expect(error).toMatchObject({
      message: 'Unknown request type',
      code: 'UNKNOWN_PATTERN',
      delivery: 'replied',
    });
  });

  it('null may be sent', async () => {
    expect(await observe(client.send('echo', null))).toStrictEqual(completes(null));
    expect(await observe(client.emit('noted', null))).toStrictEqual(completes(undefined));
    expect(await journal.have(1)).toStrictEqual([['noted', null]]);
  });

  it('a call without an answer ends after the default time limit', async () => {
    results.splice(0, results.length, () => new Promise(() => undefined));
    await client.connect();
    jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask'] });
    try {
      const seen = jest.fn();
      client.send('returns', 0).subscribe({ error: seen });
      await jest.advanceTimersByTimeAsync(9_000);
      expect(seen).not.toHaveBeenCalled();
      await jest.advanceTimersByTimeAsync(1_500);
      expect(seen).toHaveBeenCalledTimes(1);
      expect(seen.mock.calls[0]?.[0]).toBeInstanceOf(RequestTimeoutError);
      expect(seen.mock.calls[0]?.[0]).toMatchObject({ timeoutMs: 10_000, delivery: 'sentNoReply' });
    } finally {
      jest.useRealTimers();
    }
  });

  it('a call waits for a server that is not there yet', async () => {
    const where = await address();
    const early = newClient({ ...where, reconnect: { initialDelayMs: 5, maxDelayMs: 20 } });
    const retried = new Promise((resolve) => early.on('reconnecting', resolve));
    const answer = observe(early.send('echo', 'early'));
    const emitted = observe(early.emit('noted', 'early'));
    await retried;
    const app = await serve(ParityModule, newServer(where));
    expect(await answer).toStrictEqual(completes('early'));
    expect(await emitted).toStrictEqual(completes(undefined));
    expect(await app.get(Journal).have(1)).toStrictEqual([['noted', 'early']]);
  });

  it.each<[name: string, sent: unknown, received: unknown]>([
    ['a Buffer', Buffer.from([0, 1, 254, 255]), Buffer.from([0, 1, 254, 255])],
    ['an empty Buffer', Buffer.alloc(0), Buffer.alloc(0)],
    [
      'Buffers within',
      { list: [Buffer.from('a')], deep: { b: Buffer.from('b') } },
      { list: [Buffer.from('a')], deep: { b: Buffer.from('b') } },
    ],
    ['a typed array', new Uint16Array([1, 256]), Buffer.from(new Uint16Array([1, 256]).buffer)],
  ])('%s arrives as a Buffer, there and back', async (_name, sent, received) => {
    expect(await observe(client.send('echo', sent))).toEqual(completes(received));
    client.emit('noted', sent);
    expect(await journal.have(1)).toEqual([['noted', received]]);
  });

  it('a Buffer of 3 MB arrives, there and back', async () => {
    const sent = Buffer.alloc(3_000_000, 'any');
    const { values } = await observe(client.send('echo', { sent }));
    // Not toEqual, which takes seconds for so many bytes.
    expect(sent.equals((values[0] as { sent: Buffer }).sent)).toBe(true);
  });

  it('a request for an event is answered with null once its handlers are through', async () => {
    expect(await observe(client.send('shared', 'x'))).toStrictEqual(completes(null));
    expect(journal.entries).toStrictEqual([
      ['first', 'x'],
      ['second', 'x'],
    ]);
  });

  it('undefined among the values of a stream arrives as null, since JSON has nothing else for it', async () => {
    // Nest's own TCP transport of version 11 delivers the packet's id instead.
    results.splice(0, results.length, () => of(undefined, 1, undefined, 2));
    expect(await observe(client.send('returns', 0))).toStrictEqual(completes(null, 1, null, 2));
  });

  it.each<[name: string, result: () => unknown, values: unknown[]]>([
    ['a result', () => 1n, []],
    ['a value of a stream', () => of('good', 1n, 'never seen'), ['good']],
    ['an error', () => throwError(() => new RpcException({ circular: 1n })), []],
  ])('%s that has no JSON form ends the call with an error', async (_name, result, values) => {
    results.splice(0, results.length, result);
    const seen = await observe(client.send('returns', 0));
    expect(seen.values).toStrictEqual(values);
    expect(seen.end).not.toBe('complete');
    expect(await observe(client.send('echo', 'well'))).toStrictEqual(completes('well'));
  });
});
