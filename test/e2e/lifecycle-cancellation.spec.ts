import { Controller, Scope, type ControllerOptions, type Type } from '@nestjs/common';
import { ContextIdFactory, type ContextIdStrategy } from '@nestjs/core';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import {
  Signal,
  UnixSocketContext,
  UnixSocketRecordBuilder,
  type UnixSocketClientOptions,
  type UnixSocketClientProxy,
  type UnixSocketServerOptions,
} from 'nestjs-unix-socket';
import { FaultProxy } from 'nestjs-unix-socket/testing';
import { firstValueFrom, Observable, take, toArray } from 'rxjs';
import { atEnd } from '../support/at-end.js';
import type { RawPeer } from '../support/frames.js';
import { Logbook } from '../support/logbook.js';
import {
  freeAddress,
  makeClient,
  startNestServer,
  TRANSPORTS,
  type NestServer,
  type Transport,
} from '../support/nest-server.js';
import { PythonProcess } from '../support/python-process.js';
import { rejectionOf } from '../support/rejection.js';
import {
  cancel,
  connectByHand,
  heard,
  message,
  nextResponse,
  nextRequest,
  nextWhere,
  RawServer,
  request,
  response,
} from '../support/wire.js';

/** Shared by the test and the handlers it runs. */
class Desk extends Logbook {
  /** Values made by streams, by label: also those that nobody is left to hear. */
  readonly made = new Map<string, number>();
  private readonly gates = new Map<string, () => void>();

  /** Lets the handler that waits behind `label` go on. */
  open(label: string): void {
    this.gates.get(label)?.();
  }

  gate(label: string): Promise<void> {
    return new Promise((resolve) => this.gates.set(label, resolve));
  }
}

/** The same handlers in a controller of any scope. */
function worker(prefix: string, options: ControllerOptions = {}): Type {
  @Controller(options)
  class Worker {
    constructor(private readonly desk: Desk) {}

    @MessagePattern(`${prefix}wait`)
    async wait(@Payload() label: string, @Ctx() context: UnixSocketContext): Promise<string> {
      return this.untilStopped(label, context.signal);
    }

    @MessagePattern(`${prefix}wait-decorated`)
    async waitDecorated(@Payload() label: string, @Signal() signal: AbortSignal): Promise<string> {
      return this.untilStopped(label, signal);
    }

    @MessagePattern(`${prefix}ticks`)
    ticks(@Payload() label: string, @Ctx() context: UnixSocketContext): Observable<number> {
      context.signal.addEventListener('abort', () => this.desk.note(`${label} stopped`));
      return new Observable((subscriber) => {
        this.desk.note(`${label} started`);
        const timer = setInterval(() => {
          const count = (this.desk.made.get(label) ?? 0) + 1;
          this.desk.made.set(label, count);
          subscriber.next(count);
        }, 2);
        return () => {
          clearInterval(timer);
          this.desk.note(`${label} unsubscribed`);
        };
      });
    }

    @MessagePattern(`${prefix}pages`)
    async *pages(@Payload() label: string): AsyncGenerator<number> {
      this.desk.note(`${label} started`);
      try {
        for (let page = 1; ; page++) {
          await new Promise((resolve) => setTimeout(resolve, 2));
          yield page;
        }
      } finally {
        this.desk.note(`${label} returned`);
      }
    }

    @MessagePattern(`${prefix}stubborn`)
    async stubborn(@Payload() label: string): Promise<string> {
      this.desk.note(`${label} started`);
      await this.desk.gate(label);
      this.desk.note(`${label} finished`);
      return `${label} done`;
    }

    @MessagePattern(`${prefix}last-words`)
    lastWords(@Payload() label: string, @Signal() signal: AbortSignal): Observable<string> {
      return new Observable((subscriber) => {
        this.desk.note(`${label} started`);
        signal.addEventListener('abort', () => {
          subscriber.next('one more thing');
          subscriber.complete();
          this.desk.note(`${label} stopped`);
        });
      });
    }

    @MessagePattern(`${prefix}block`)
    block(@Payload() blockMs: number): string {
      const until = performance.now() + blockMs;
      while (performance.now() < until);
      return 'blocked';
    }

    @MessagePattern(`${prefix}answer`)
    answer(@Payload() label: string, @Signal() signal: AbortSignal): string {
      this.desk.note(`${label} started`);
      signal.addEventListener('abort', () => this.desk.note(`${label} stopped`));
      return 'done';
    }

    @MessagePattern(`${prefix}echo`)
    echo(@Payload() data: unknown): unknown {
      if (typeof data === 'string') this.desk.note(`${data} started`);
      return data;
    }

    private async untilStopped(label: string, signal: AbortSignal): Promise<string> {
      this.desk.note(`${label} started`);
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
      this.desk.note(`${label} stopped`);
      this.desk.note(`${label} reason ${(signal.reason as { code: string }).code}`);
      return 'too late';
    }
  }
  return Worker;
}

/** All calls share one tree of durable providers. */
const oneTenant: ContextIdStrategy = {
  attach: (contextId) => ({
    resolve: ({ isTreeDurable }) => (isTreeDurable ? tenant : contextId),
    payload: {},
  }),
};
const tenant = ContextIdFactory.create();

const SCOPES = {
  default: '',
  'request-scoped': 'r.',
  durable: 'd.',
} as const;

interface Bench {
  readonly desk: Desk;
  readonly nest: NestServer;
  readonly client: UnixSocketClientProxy;
}

async function setUp(
  transport: Transport,
  serverOptions: Partial<UnixSocketServerOptions> = {},
  clientOptions: Partial<UnixSocketClientOptions> = {},
): Promise<Bench> {
  const desk = new Desk();
  const controllers = [
    worker(SCOPES.default),
    worker(SCOPES['request-scoped'], { scope: Scope.REQUEST }),
    worker(SCOPES.durable, { scope: Scope.REQUEST, durable: true }),
  ];
  const nest = await startNestServer(
    { controllers, providers: [{ provide: Desk, useValue: desk }] },
    { ...freeAddress(transport), drainTimeoutMs: 20, ...serverOptions },
  );
  const client = makeClient({ ...nest.address, ...clientOptions });
  await client.connect();
  return { desk, nest, client };
}

/** A way in which a caller stops waiting for the call of `pattern`, once the handler is at work. */
interface Way {
  readonly name: string;
  readonly clientOptions?: Partial<UnixSocketClientOptions>;
  /** What the handler hears. */
  readonly reasons: readonly string[];
  stop(bench: Bench, pattern: string, isStarted: Promise<void>): Promise<unknown>;
}

const IGNORE = { next: () => undefined, error: () => undefined };

const WAYS: readonly Way[] = [
  {
    name: 'its caller unsubscribes',
    reasons: ['CANCELLED'],
    async stop({ client }, pattern, isStarted) {
      const subscription = client.send(pattern, 'it').subscribe(IGNORE);
      await isStarted;
      subscription.unsubscribe();
    },
  },
  {
    name: "the caller's AbortSignal fires",
    reasons: ['CANCELLED'],
    async stop({ client }, pattern, isStarted) {
      const controller = new AbortController();
      const answer = client.request(pattern, 'it', { signal: controller.signal });
      const failed = rejectionOf(answer);
      await isStarted;
      controller.abort('no need');
      expect(await failed).toMatchObject({
        code: 'REQUEST_ABORTED',
        delivery: 'sentNoReply',
        cause: 'no need',
      });
    },
  },
  {
    name: 'the default time limit passes',
    clientOptions: { requestTimeoutMs: 60, idleTimeoutMs: 1 },
    reasons: ['CANCELLED'],
    stop: ({ client }, pattern) =>
      expect(client.request(pattern, 'it')).rejects.toMatchObject({
        code: 'REQUEST_TIMEOUT',
        delivery: 'sentNoReply',
      }),
  },
  {
    name: 'the deadline of a record passes',
    reasons: ['DEADLINE_EXCEEDED', 'CANCELLED'],
    stop: ({ client }, pattern) =>
      expect(
        firstValueFrom(
          client.send(pattern, new UnixSocketRecordBuilder('it').setTimeout(60).build()).pipe(toArray()),
        ),
      ).rejects.toMatchObject({ code: 'REQUEST_TIMEOUT', timeoutMs: 60, delivery: 'sentNoReply' }),
  },
  {
    name: 'the timeoutMs of a request passes',
    reasons: ['DEADLINE_EXCEEDED', 'CANCELLED'],
    stop: ({ client }, pattern) =>
      expect(client.request(pattern, 'it', { timeoutMs: 60 })).rejects.toMatchObject({
        code: 'REQUEST_TIMEOUT',
        timeoutMs: 60,
        delivery: 'sentNoReply',
      }),
  },
  {
    name: 'its caller is cut off',
    reasons: ['CONNECTION_LOST'],
    async stop({ nest }, pattern, isStarted) {
      const proxy = await FaultProxy.listen({ target: nest.address });
      atEnd(() => proxy.close());
      const client = makeClient({ ...proxy.endpoint, reconnect: { enabled: false } });
      const failed = rejectionOf(client.request(pattern, 'it'));
      await isStarted;
      proxy.reset();
      expect(await failed).toMatchObject({
        code: 'CONNECTION_LOST',
        delivery: 'sentNoReply',
      });
    },
  },
  {
    name: 'its client is closed',
    clientOptions: { drainTimeoutMs: 20 },
    reasons: ['CANCELLED'],
    async stop({ client }, pattern, isStarted) {
      const failed = rejectionOf(client.request(pattern, 'it'));
      await isStarted;
      expect(await client.close()).toEqual({ unanswered: 1, notSent: 0, cancelled: 0 });
      expect(await failed).toMatchObject({
        code: 'CLIENT_CLOSED',
        delivery: 'sentNoReply',
      });
    },
  },
  {
    name: 'the server is closed',
    reasons: ['SERVER_CLOSED'],
    async stop({ client, nest }, pattern, isStarted) {
      const failed = rejectionOf(client.request(pattern, 'it'));
      await isStarted;
      await nest.app.close();
      expect(await failed).toMatchObject({
        code: 'CONNECTION_LOST',
        delivery: 'sentNoReply',
      });
      expect(await nest.server.close()).toMatchObject({ cancelled: 1 });
    },
  },
];

describe.each(TRANSPORTS)('Cancellation over %s', (transport) => {
  beforeAll(() => ContextIdFactory.apply(oneTenant));

  const scopes = Object.entries(SCOPES).filter(([scope]) => transport === 'unix' || scope === 'default');

  describe.each(scopes)('of a handler in a %s controller', (_scope, prefix) => {
    it.each(WAYS)('fires the signal of its context when $name', async ({ clientOptions, reasons, stop }) => {
      const bench = await setUp(transport, {}, clientOptions);
      await stop(bench, `${prefix}wait`, bench.desk.until('it started'));

      await bench.desk.until('it stopped');
      expect(reasons).toContain(bench.desk.entries.at(-1)?.replace('it reason ', ''));
    });

    it.each(WAYS)('stops its Observable when $name', async ({ clientOptions, stop }) => {
      const bench = await setUp(transport, {}, clientOptions);
      await stop(bench, `${prefix}ticks`, bench.desk.until('it started'));

      await bench.desk.until('it stopped');
      await bench.desk.until('it unsubscribed');
      const made = bench.desk.made.get('it');
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(bench.desk.made.get('it')).toBe(made);
    });

    it('fires the signal that @Signal() gives', async () => {
      const { desk, client } = await setUp(transport);
      const subscription = client.send(`${prefix}wait-decorated`, 'it').subscribe(IGNORE);
      await desk.until('it started');
      subscription.unsubscribe();

      await desk.until('it reason CANCELLED');
    });

    it.each(['wait', 'wait-decorated', 'last-words'])(
      'answers nothing to a cancelled %s',
      async (pattern) => {
        const { desk, nest } = await setUp(transport);
        const peer = await connectByHand(nest.address);
        await peer.send(request('it', `${prefix}${pattern}`, 'it'));
        await desk.until('it started');
        await peer.send(cancel('it'));
        await desk.until('it stopped');
        // Whatever the handler still gave has gone out before the answer to this.
        await heard(peer);
        expect(framesOf(peer, 'it')).toEqual([]);
        peer.destroy();
      },
    );

    it('sends nothing more of a cancelled stream', async () => {
      const { desk, nest } = await setUp(transport);
      const peer = await connectByHand(nest.address);
      await peer.send(request('it', `${prefix}ticks`, 'it'), request('other', `${prefix}ticks`, 'other'));
      await nextWhere(peer, ({ request_id: id, data }) => id === 'it' && data === 3);
      await peer.send(cancel('it'));
      await heard(peer);
      const { length } = framesOf(peer, 'it');

      const { data } = await nextResponse(peer, 'other');
      await nextWhere(
        peer,
        (other) => other.request_id === 'other' && Number(other.data) > Number(data) + 10,
      );
      expect(framesOf(peer, 'it')).toHaveLength(length);
      peer.destroy();
      await desk.until('other unsubscribed');
    });
  });

  it.each(WAYS)('tells an async generator to return, once, when $name', async ({ clientOptions, stop }) => {
    const bench = await setUp(transport, {}, clientOptions);
    await stop(bench, 'pages', bench.desk.until('it started'));

    await bench.desk.until('it returned');
    expect(bench.nest.server.getStats().inFlight).toBe(0);
    expect(bench.desk.count('it returned')).toBe(1);
  });

  it('leaves the other calls of the connection alone', async () => {
    const { desk, client } = await setUp(transport);
    const kept = client.request('stubborn', 'kept');
    const subscription = client.send('wait', 'it').subscribe(IGNORE);
    await desk.until('it started');
    subscription.unsubscribe();
    await desk.until('it stopped');

    desk.open('kept');
    expect(await kept).toBe('kept done');
  });

  it('ends a stream that its caller has had enough of', async () => {
    const { desk, client } = await setUp(transport);
    expect(await firstValueFrom(client.send('ticks', 'it').pipe(take(3), toArray()))).toEqual([1, 2, 3]);
    await desk.until('it unsubscribed');
  });

  it('does not bother a handler whose answer has gone out', async () => {
    const { desk, nest } = await setUp(transport);
    const peer = await connectByHand(nest.address);
    await peer.send(request('it', 'answer', 'it'));
    await nextResponse(peer, 'it');
    await peer.send(cancel('it'));
    await heard(peer);
    const isGone = new Promise((resolve) => nest.server.on('disconnect', resolve));
    peer.destroy();
    await isGone;
    expect(desk.entries).toEqual(['it started']);
  });

  it('sends nothing for a caller whose signal had fired before', async () => {
    const { desk, client } = await setUp(transport);
    await expect(client.request('echo', 'it', { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'REQUEST_ABORTED',
      delivery: 'notSent',
    });
    await client.request('echo', 'next');
    expect(desk.entries).toEqual(['next started']);
  });

  it('leaves no listener on a signal that many requests share', async () => {
    const { client } = await setUp(transport);
    const { signal } = new AbortController();
    let listeners = 0;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners++;
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners--;
      remove(...args);
    };
    await Promise.all(Array.from({ length: 20 }, (_, i) => client.request('echo', i, { signal })));
    await rejectionOf(client.request('nobody handles this', 0, { signal }));
    expect(listeners).toBe(0);
  });

  it('hears cancels and keeps everybody while all slots are busy for three heartbeat timeouts', async () => {
    const heartbeat = { intervalMs: 50, timeoutMs: 200 };
    const { desk, nest, client } = await setUp(
      transport,
      { maxConcurrentPerConnection: 2, heartbeat },
      { heartbeat },
    );
    const disconnects: unknown[] = [];
    nest.server.on('disconnect', (_connection: unknown, cause: unknown) => disconnects.push(cause));
    client.on('disconnect', (error: unknown) => disconnects.push(error));
    const plain = await connectByHand(nest.address, { isUpgraded: false });
    const beat = setInterval(() => void plain.send(message('heartbeat', '', null)), 50);
    atEnd(() => clearInterval(beat));
    await plain.send(request('a', 'stubborn', 'plain a'), request('b', 'stubborn', 'plain b'));
    const running = client.send('wait', 'running').subscribe(IGNORE);
    const queued = [client.request('stubborn', 'second'), client.request('echo', 'third')];
    await desk.until('second started');
    await new Promise((resolve) => setTimeout(resolve, 600));

    running.unsubscribe();
    await desk.until('running stopped');
    await desk.until('third started');
    desk.open('second');
    expect(await Promise.all(queued)).toEqual(['second done', 'third']);
    desk.open('plain a');
    expect(await nextResponse(plain, 'a')).toMatchObject({ data: 'plain a done' });
    desk.open('plain b');
    expect(disconnects).toEqual([]);
    plain.destroy();
  });

  it('still answers a plain peer that has ended its side, then ends too', async () => {
    const { desk, nest } = await setUp(transport);
    const peer = await connectByHand(nest.address, { isUpgraded: false });
    await peer.send(request('it', 'stubborn', 'it'));
    await desk.until('it started');
    peer.end();
    // Only by writing can it be found out whether anybody still listens.
    await nextWhere(peer, ({ msg_type: type }) => type === 'heartbeat');

    desk.open('it');
    expect(await nextResponse(peer, 'it')).toMatchObject({ data: 'it done', error: null });
    await peer.ended;
    await peer.closed;
  });

  it('takes the end of an upgraded peer for its leaving', async () => {
    const { desk, nest } = await setUp(transport);
    const peer = await connectByHand(nest.address);
    await peer.send(request('it', 'wait', 'it'));
    await desk.until('it started');
    peer.end();
    await desk.until('it reason CONNECTION_LOST', { timeoutMs: 500 });
    await peer.closed;
  });

  it('fires the signal within two seconds when a plain client is killed', async () => {
    const { desk, nest } = await setUp(transport);
    const { address } = nest;
    const endpoint = 'path' in address ? address.path : `127.0.0.1:${address.port}`;
    const python = await PythonProcess.start('client', endpoint);
    atEnd(() => python.stop());
    await python.command('connect');
    void python.command('request', { type: 'wait', data: 'it' });
    await desk.until('it started');

    const { pid } = await python.waitFor('ready');
    const killedAt = performance.now();
    process.kill(pid as number, 'SIGKILL');
    await desk.until('it reason CONNECTION_LOST', { timeoutMs: 4_000 });
    expect(performance.now() - killedAt).toBeLessThan(2_000);
  });
});

describe.each(TRANSPORTS)('Deadlines over %s', (transport) => {
  it.each([
    ['of a record', (client: UnixSocketClientProxy) => firstValueFrom(client.send('it', record(1_234)))],
    ['of a request', (client: UnixSocketClientProxy) => client.request('it', 1, { timeoutMs: 1_234 })],
  ])('tell an upgraded server how long the caller still waits: %s', async (_name, call) => {
    const { client, peer } = await clientOfRawServer(transport);
    const answer = call(client);
    const { request_id: id, deadline_ms: deadlineMs } = await nextRequest(peer);
    expect(deadlineMs).toBeGreaterThan(1_000);
    expect(deadlineMs).toBeLessThanOrEqual(1_234);
    expect(Number.isInteger(deadlineMs)).toBe(true);
    await peer.send(response(id, 'done'));
    expect(await answer).toBe('done');
  });

  it.each([
    ['a default time limit', true, undefined],
    ['a call without limit', true, 0],
    ['anything to a plain server', false, 1_234],
  ])('say nothing of %s', async (_name, isUpgraded, timeoutMs) => {
    const { client, peer } = await clientOfRawServer(transport, { isUpgraded });
    const answer = client.request('it', 1, { timeoutMs });
    const sent = await nextRequest(peer);
    expect(sent).not.toHaveProperty('deadline_ms');
    await peer.send(response(sent.request_id, 'done'));
    expect(await answer).toBe('done');
  });

  it.each([NaN, -1, Infinity, 2 ** 31, '5' as never])('cannot be %s', async (timeoutMs) => {
    const client = makeClient(freeAddress(transport));
    const failure = { name: 'InvalidOptionError', option: 'timeoutMs', value: timeoutMs };
    const data = new UnixSocketRecordBuilder(1).setTimeout(timeoutMs).build();
    for (const call of [
      client.request('it', 1, { timeoutMs }),
      firstValueFrom(client.send('it', data)),
      firstValueFrom(client.emit('it', data)),
    ])
      expect(await rejectionOf(call)).toMatchObject(failure);
    expect(client.getStats()).toMatchObject({ waiting: 0, state: 'idle' });
  });

  it('count the time that a call waited for its connection', async () => {
    const server = await RawServer.listen(freeAddress(transport));
    atEnd(() => server.close());
    const client = makeClient(server.address);
    const answer = client.request('it', 1, { timeoutMs: 1_000 });
    const peer = await server.accept();
    await new Promise((resolve) => setTimeout(resolve, 100));
    await peer.send(response('', { account_id: '', conn_id: '1', caps: ['deadline'] }));
    const { request_id: id, deadline_ms: deadlineMs } = await nextRequest(peer);
    expect(deadlineMs).toBeLessThanOrEqual(901);
    await peer.send(response(id, 'done'));
    await answer;
    peer.destroy();
  });

  it('stop a handler by themselves, and answer nothing', async () => {
    const { desk, nest } = await setUp(transport);
    const peer = await connectByHand(nest.address);
    await peer.send(request('it', 'wait', 'it', { deadline_ms: 30 }));
    await desk.until('it reason DEADLINE_EXCEEDED');
    await heard(peer);
    expect(framesOf(peer, 'it')).toEqual([]);
    peer.destroy();
  });

  it('keep queued work from starting once they have passed', async () => {
    const { desk, nest } = await setUp(transport, { maxConcurrentPerConnection: 1 });
    const peer = await connectByHand(nest.address);
    await peer.send(
      request('first', 'stubborn', 'first'),
      request('late', 'echo', 'late', { deadline_ms: 20 }),
      request('last', 'echo', 'last', { deadline_ms: 5_000 }),
    );
    await desk.until('first started');
    await new Promise((resolve) => setTimeout(resolve, 50));
    desk.open('first');
    await nextResponse(peer, 'last');
    expect(desk.entries).toEqual(['first started', 'first finished', 'last started']);
    expect(framesOf(peer, 'late')).toEqual([]);
    peer.destroy();
  });

  it('keep queued work from starting that passed while the server was too busy to notice', async () => {
    const { desk, nest } = await setUp(transport, { maxConcurrentPerConnection: 1 });
    const peer = await connectByHand(nest.address);
    await peer.send(
      request('first', 'block', 60),
      request('late', 'echo', 'late', { deadline_ms: 20 }),
      request('last', 'echo', 'last', { deadline_ms: 5_000 }),
    );
    await nextResponse(peer, 'last');
    expect(desk.entries).toEqual(['last started']);
    peer.destroy();
  });

  it('refuse what arrives too late, without starting it', async () => {
    const { desk, nest } = await setUp(transport);
    const peer = await connectByHand(nest.address);
    await peer.send(request('it', 'echo', 'it', { deadline_ms: 0 }));
    expect(await nextResponse(peer, 'it')).toMatchObject({
      error_detail: { code: 'DEADLINE_EXCEEDED', refused: true },
    });
    expect(desk.entries).toEqual([]);
    peer.destroy();
  });

  it('give the places of calls that passed them in the queue to others', async () => {
    const { desk, client } = await setUp(transport, {
      maxConcurrentPerConnection: 1,
      maxQueuedPerConnection: 2,
    });
    const first = client.request('stubborn', 'first');
    await desk.until('first started');
    const late = ['late 1', 'late 2'].map((label) => client.request('echo', label, { timeoutMs: 30 }));
    await Promise.allSettled(late);

    const last = ['last 1', 'last 2'].map((label) => client.request('echo', label));
    expect(await client.healthCheck()).toBe(true);
    desk.open('first');
    expect(await Promise.all(last)).toEqual(['last 1', 'last 2']);
    await first;
  });

  it('give the places of cancelled calls in the queue to others', async () => {
    const { desk, nest } = await setUp(transport, {
      maxConcurrentPerConnection: 1,
      maxQueuedPerConnection: 4,
    });
    const peer = await connectByHand(nest.address);
    await peer.send(request('first', 'stubborn', 'first'));
    await desk.until('first started');
    const echo = (...ids: string[]): Buffer[] => ids.map((id) => request(id, 'echo', id));
    await peer.send(...echo('a', 'b', 'c', 'd'), cancel('b'), ...echo('e'), cancel('d'), cancel('a'));
    await heard(peer);
    expect(nest.server.getStats()).toMatchObject({ inFlight: 1, queued: 2 });
    await peer.send(...echo('f', 'g', 'one too many'));
    expect(await nextResponse(peer, 'one too many')).toMatchObject({ error_detail: { code: 'OVERLOADED' } });

    desk.open('first');
    for (const id of ['c', 'e', 'f', 'g']) expect(await nextResponse(peer, id)).toMatchObject({ data: id });
    expect(framesOf(peer, 'a', 'b', 'd')).toEqual([]);
    expect(nest.server.getStats()).toMatchObject({ inFlight: 0, queued: 0 });
    peer.destroy();
  });
});

function record(timeoutMs: number): unknown {
  return new UnixSocketRecordBuilder('data').setTimeout(timeoutMs).build();
}

function framesOf(peer: RawPeer, ...ids: string[]): unknown[] {
  return peer.received.filter(({ request_id: id }) => ids.includes(id));
}

async function clientOfRawServer(
  transport: Transport,
  options?: { isUpgraded: boolean },
): Promise<{ client: UnixSocketClientProxy; peer: RawPeer }> {
  const server = await RawServer.listen(freeAddress(transport));
  atEnd(() => server.close());
  const client = makeClient(server.address);
  const connected = client.connect();
  const peer = await server.welcome(options);
  await connected;
  atEnd(() => peer.destroy());
  return { client, peer };
}
