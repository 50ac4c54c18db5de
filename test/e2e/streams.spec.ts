import { connect, type NetConnectOpts, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { Controller, Scope, UseInterceptors, type NestInterceptor, type Type } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import {
  Link,
  SocketServer,
  type ClientConnection,
  type RequestInfo,
  type SocketServerOptions,
  type UnixSocketContext,
} from 'nestjs-unix-socket';
import { lastValueFrom, tap, toArray } from 'rxjs';
import { atEnd } from '../support/at-end.js';
import { RawPeer, type Address, type WireMessage } from '../support/frames.js';
import { Logbook } from '../support/logbook.js';
import { freeAddress, makeClient, startNestServer, TRANSPORTS } from '../support/nest-server.js';
import { rejectionOf } from '../support/rejection.js';
import { until } from '../support/until.js';
import { cancel, connectByHand, heard, hello, nextResponse, RawServer, request } from '../support/wire.js';

const KIB = 1024;
const MIB = 1024 * KIB;
const ITEM = 'x'.repeat(10_000);

/** Endless, and always at once. Knows how often it was asked, and how often it was told to end. */
class Source {
  asked = 0;
  returned = 0;

  async *values(): AsyncGenerator<string> {
    try {
      for (;;) {
        this.asked++;
        yield ITEM;
      }
    } finally {
      this.returned++;
    }
  }
}

async function startServer(
  handlers: Record<string, (data: never, call: RequestInfo) => unknown>,
  options: SocketServerOptions = freeAddress('unix'),
): Promise<{ server: SocketServer; address: Address }> {
  const server = new SocketServer({ drainTimeoutMs: 20, ...options });
  for (const [type, handler] of Object.entries(handlers)) server.handle(type, handler);
  await server.listen();
  atEnd(() => server.close());
  return { server, address: server.endpoint as Address };
}

/** A client that asks and reads nothing. */
function connectUnread(address: Address, ...frames: Buffer[]): Socket {
  const socket = connect(address as NetConnectOpts);
  socket.on('error', () => undefined);
  atEnd(() => socket.destroy());
  socket.write(Buffer.concat(frames));
  return socket;
}

async function byHand(...where: Parameters<typeof connectByHand>): Promise<RawPeer> {
  const peer = await connectByHand(...where);
  atEnd(() => peer.destroy());
  return peer;
}

/** Until nothing more happens by itself: promises, ticks and turns of the event loop. */
async function turns(count = 20): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(setImmediate);
}

async function nextResponses(peer: RawPeer, id: string, count: number): Promise<WireMessage[]> {
  const responses: WireMessage[] = [];
  while (responses.length < count) responses.push(await nextResponse(peer, id));
  return responses;
}

/** What a handler may return for a stream of 1, 2, 3. */
const SHAPES: Readonly<Record<string, () => unknown>> = {
  'async generator': async function* () {
    yield 1;
    yield await Promise.resolve(2);
    yield 3;
  },
  Readable: () => Readable.from([1, 2, 3]),
  'promise of a ReadableStream': async () => ReadableStream.from([1, 2, 3]),
  'hand-made async iterable': () => ({
    [Symbol.asyncIterator]: () => {
      let count = 0;
      return { next: async () => (count < 3 ? { value: ++count } : { done: true }) };
    },
  }),
};

describe.each(TRANSPORTS)('A stream that is made on demand, over %s', (transport) => {
  it('is asked for no more than its caller reads, goes on when it does, and ends when it leaves', async () => {
    const source = new Source();
    const { server, address } = await startServer({ endless: () => source.values() }, freeAddress(transport));
    const socket = connectUnread(address, hello(), request('1', 'endless', null));
    const queuedBytes = (): number => server.getStats().connections[0]?.queuedBytes ?? 0;
    const untilPaused = () =>
      until(async () => {
        const { asked } = source;
        await turns();
        return queuedBytes() > MIB && source.asked === asked;
      });
    await untilPaused();
    expect(queuedBytes()).toBeLessThan(MIB + 2 * ITEM.length);
    const askedBefore = source.asked;
    // Several rounds of what the kernel and the server hold back together.
    socket.resume();
    await until(() => source.asked > 2 * askedBefore + 1_000);
    socket.pause();
    await untilPaused();
    expect(queuedBytes()).toBeLessThan(MIB + 2 * ITEM.length);

    const { asked } = source;
    socket.destroy();
    await until(() => server.getStats().activeConnections === 0);
    await turns();
    expect(source).toEqual({ asked, returned: 1 });
    expect(server.getStats().inFlight).toBe(0);
  });

  it('of a client waits likewise for a server that does not read', async () => {
    const source = new Source();
    const server = await RawServer.listen(freeAddress(transport));
    atEnd(() => server.close());
    const link = new Link({ ...server.address, drainTimeoutMs: 0, reconnect: { enabled: false } });
    atEnd(() => link.close());
    link.handle('endless', () => source.values());
    const connected = link.connect();
    const peer = await server.welcome();
    await connected;
    await peer.send(request('1', 'endless', null));
    peer.socket.pause();
    const isPaused = async (): Promise<boolean> => {
      const { asked } = source;
      await turns();
      return asked > 0 && source.asked === asked;
    };
    await until(isPaused);
    const { asked } = source;
    peer.socket.resume();
    await until(() => source.asked > asked);
    await peer.send(cancel('1'));
    await until(() => source.returned === 1);
    expect(await isPaused()).toBe(true);
  });
});

describe('A function that returns an async iterable', () => {
  it.each(Object.entries(SHAPES))('answers with its values: %s', async (_name, make) => {
    const { address } = await startServer({ make: () => make() });
    const peer = await byHand(address);
    await peer.send(request('1', 'make', null));
    const frames = await nextResponses(peer, '1', 4);
    expect(frames.map(({ data, more, end }) => ({ data, more, end }))).toEqual([
      { data: 1, more: true },
      { data: 2, more: true },
      { data: 3, more: true },
      { data: null, end: true },
    ]);

    const plain = await byHand(address, { isUpgraded: false });
    await plain.send(request('1', 'make', null));
    expect(await nextResponse(plain, '1')).toMatchObject({ data: 3, error: null });
    await plain.send(request('2', 'none', null));
    await nextResponse(plain, '2');
    expect(plain.received.filter(({ request_id: id }) => id === '1')).toHaveLength(1);
  });

  it('fails with what the iterable throws, after the values before', async () => {
    const { address } = await startServer({
      async *broken() {
        yield 1;
        throw Object.assign(new Error('out of paper'), { code: 'PAPER', details: { tray: 2 } });
      },
      unasked: () => ({
        [Symbol.asyncIterator]: () => {
          throw new Error('no iterator');
        },
      }),
    });
    const peer = await byHand(address);
    await peer.send(request('1', 'broken', null));
    const [value, failure] = await nextResponses(peer, '1', 2);
    expect(value).toMatchObject({ data: 1, more: true });
    expect(failure).toMatchObject({
      data: null,
      error: 'out of paper',
      error_detail: { code: 'PAPER', details: { tray: 2 } },
    });
    await peer.send(request('2', 'unasked', null));
    expect(await nextResponse(peer, '2')).toMatchObject({ error: 'no iterator' });
  });

  it('fails with a value that cannot be sent, and the iterable is told to end', async () => {
    const returned: string[] = [];
    const { address } = await startServer({
      async *odd() {
        try {
          yield 1n;
          yield 2;
        } finally {
          returned.push('odd');
        }
      },
    });
    const peer = await byHand(address);
    await peer.send(request('1', 'odd', null));
    expect(await nextResponse(peer, '1')).toMatchObject({ error_detail: { code: 'UNENCODABLE_VALUE' } });
    await until(() => returned.length === 1);
    await heard(peer);
    expect(peer.received.filter(({ request_id: id }) => id === '1')).toHaveLength(1);
  });

  it('has its Readable destroyed by a cancel, also one that waits for its source', async () => {
    const readables: Readable[] = [];
    const { address } = await startServer({
      silent: () => {
        const readable = new Readable({ read: () => undefined });
        readables.push(readable);
        return readable;
      },
    });
    const peer = await byHand(address);
    await peer.send(request('1', 'silent', null));
    await until(() => readables.length === 1);
    await peer.send(cancel('1'));
    await until(() => readables[0]?.closed === true);
    await heard(peer);
    expect(peer.received.filter(({ request_id: id }) => id === '1')).toEqual([]);
  });

  it('that comes after the end of its call is not asked for anything', async () => {
    const source = new Source();
    const readable = Readable.from([1]);
    let answer: (value: unknown) => void = () => undefined;
    const late = (): Promise<unknown> => new Promise((resolve) => (answer = resolve));
    const { server, address } = await startServer({ late });
    const peer = await byHand(address);
    for (const result of [source.values(), readable]) {
      await peer.send(request('1', 'late', null));
      await until(() => server.getStats().inFlight === 1);
      await peer.send(cancel('1'));
      await until(() => server.getStats().inFlight === 0);
      answer(result);
      await turns();
    }
    expect(source.asked).toBe(0);
    expect(readable.destroyed).toBe(true);
  });

  it('keeps its value back where others have filled the room while it was made', async () => {
    let open: () => void = () => undefined;
    const opened = new Promise<void>((resolve) => (open = resolve));
    const { server, address } = await startServer(
      {
        async *large() {
          await opened;
          yield 'x'.repeat(MIB);
        },
      },
      { ...freeAddress('unix'), maxSendQueueBytes: 4 * MIB },
    );
    const ids = Array.from({ length: 16 }, (_, index) => String(index));
    const socket = connectUnread(address, hello(), ...ids.map((id) => request(id, 'large', null)));
    await until(() => server.getStats().inFlight === ids.length);
    open();
    await turns();
    expect(server.getStats().connections[0]?.queuedBytes).toBeLessThan(3 * MIB);

    const peer = new RawPeer(socket);
    await until(() => peer.received.filter(({ end }) => end === true).length === ids.length);
  });

  it('leaves others their turn, however many values it has at once', async () => {
    const source = new Source();
    const { server, address } = await startServer({ endless: () => source.values(), echo: (data) => data });
    // A plain client is owed the last value alone, so nothing of it ever waits to be read.
    const plain = await byHand(address, { isUpgraded: false });
    await plain.send(request('1', 'endless', null));
    const other = await byHand(address);
    await other.send(request('1', 'echo', 'still here'));
    expect(await nextResponse(other, '1')).toMatchObject({ data: 'still here' });
    plain.destroy();
    await until(() => source.returned === 1);
    expect(server.getStats().inFlight).toBe(0);
  });

  it('is remembered with its call while nobody is there to read, and answers who comes back', async () => {
    let open: () => void = () => undefined;
    const opened = new Promise<void>((resolve) => (open = resolve));
    const source = new Source();
    const { server, address } = await startServer(
      {
        async *gated() {
          await opened;
          yield* source.values();
        },
      },
      { ...freeAddress('unix'), deduplication: { enabled: true } },
    );
    const lost = await byHand(address);
    await lost.send(request('twice', 'gated', null));
    await until(() => server.getStats().inFlight === 1);
    lost.destroy();
    await until(() => server.getStats().activeConnections === 0);
    open();
    await turns();
    expect(source.asked).toBe(1);

    const peer = await byHand(address);
    await peer.send(request('twice', 'gated', null));
    await nextResponses(peer, 'twice', 3);
    await peer.send(cancel('twice'));
    await until(() => source.returned === 1);
  });
});

const asItIs: NestInterceptor = { intercept: (_context, next) => next.handle().pipe(tap()) };

/** The same handlers in a controller of any scope. */
function maker(prefix: string, scope: Scope): Type {
  @Controller({ scope })
  class Maker {
    constructor(private readonly log: Logbook) {}

    @MessagePattern(`${prefix}count`)
    async *count(to: number): AsyncGenerator<number> {
      for (let number = 1; number <= to; number++) yield number;
    }

    @MessagePattern(`${prefix}promised`)
    async promised(to: number): Promise<AsyncIterable<number>> {
      return this.count(to);
    }

    @MessagePattern(`${prefix}intercepted`)
    @UseInterceptors(asItIs)
    intercepted(to: number): Readable {
      return Readable.from(this.count(to));
    }

    @MessagePattern(`${prefix}refused`)
    async *refused(): AsyncGenerator<number> {
      yield 1;
      throw new RpcException({ code: 'NO_MORE', message: 'only one' });
    }

    @MessagePattern(`${prefix}broken`)
    @UseInterceptors(asItIs)
    async *broken(): AsyncGenerator<number> {
      yield 1;
      throw new Error('a secret of the server');
    }

    @MessagePattern(`${prefix}endless`)
    @UseInterceptors(asItIs)
    async *endless(): AsyncGenerator<number> {
      try {
        for (let number = 0; ; number++) yield number;
      } finally {
        this.log.note(`${prefix}endless returned`);
      }
    }

    @EventPattern<string>(`${prefix}told`)
    async *told(@Payload() to: number): AsyncGenerator<number> {
      for await (const number of this.count(to)) {
        this.log.note(`${prefix}told ${number}`);
        yield number;
      }
    }
  }
  return Maker;
}

describe('A controller that returns an async iterable', () => {
  const log = new Logbook();
  const controllers = [maker('', Scope.DEFAULT), maker('r.', Scope.REQUEST)];
  const providers = [{ provide: Logbook, useValue: log }];

  it.each(['', 'r.'])('answers with its values, errors and end (scope "%s")', async (prefix) => {
    const { address, server } = await startNestServer({ controllers, providers }, freeAddress('unix'));
    const client = makeClient(address);
    const values = (name: string, data: unknown): Promise<unknown> =>
      lastValueFrom(client.send(prefix + name, data).pipe(toArray()));
    for (const name of ['count', 'promised', 'intercepted']) {
      expect(await values(name, 3)).toEqual([1, 2, 3]);
      expect(await values(name, 0)).toEqual([]);
    }
    expect(await rejectionOf(values('refused', null))).toMatchObject({
      code: 'NO_MORE',
      message: 'only one',
    });
    expect(await rejectionOf(values('broken', null))).toMatchObject({ message: 'Internal server error' });

    const isEnough = new Promise<void>((resolve) => {
      const subscription = client.send<number>(`${prefix}endless`, null).subscribe((number) => {
        if (number < 200) return;
        subscription.unsubscribe();
        resolve();
      });
    });
    await isEnough;
    await log.until(`${prefix}endless returned`);
    expect(server.getStats().inFlight).toBe(0);

    await lastValueFrom(client.emit(`${prefix}told`, 2));
    await log.until(`${prefix}told 2`);
  });

  it('is taken value by value by the loop of a caller', async () => {
    const { address } = await startNestServer({ controllers, providers }, freeAddress('unix'));
    const client = makeClient(address);
    const taken: number[] = [];
    for await (const number of client.stream<number>('r.endless', null, { window: 2 })) {
      taken.push(number);
      if (number === 4) break;
    }
    expect(taken).toEqual([0, 1, 2, 3, 4]);
    await log.until('r.endless returned', { times: 2 });
  });

  it('of a client answers its server', async () => {
    const { address, server } = await startNestServer({}, freeAddress('unix'));
    const callable = new Promise<ClientConnection>((resolve) => server.on('callable', resolve));
    const client = makeClient(address);
    client.handle('count', async function* (to: number) {
      for (let number = 1; number <= to; number++) yield number;
    });
    await client.connect();
    const values = server.stream(await callable, 'count', 3).pipe(toArray());
    expect(await lastValueFrom(values)).toEqual([1, 2, 3]);
  });

  it('goes through a serializer, and tells the hook of the end when it is through', async () => {
    const { address, server } = await startNestServer(
      { controllers, providers },
      {
        ...freeAddress('unix'),
        serializer: { serialize: (packet: object) => ({ ...packet, stamp: true }) },
      },
    );
    const ends: string[] = [];
    server.setOnProcessingEndHook(
      (_transport, context) => void ends.push((context as UnixSocketContext).getPattern()),
    );
    const client = makeClient({ ...address, deserializer: { deserialize: (packet: never) => packet } });
    expect(await lastValueFrom(client.send('count', 2).pipe(toArray()))).toEqual([1, 2]);
    expect(ends).toEqual(['count']);
    const looped: unknown[] = [];
    for await (const number of client.stream('count', 5, { window: 2 })) looped.push(number);
    expect(looped).toEqual([1, 2, 3, 4, 5]);
  });
});
