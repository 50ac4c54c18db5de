import { Controller } from '@nestjs/common';
import { MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import {
  InvalidOptionError,
  Link,
  request as requestOf,
  SocketServer,
  stream,
  StreamOverflowError,
  type ClientConnection,
  type UnixSocketServerOptions,
} from 'nestjs-unix-socket';
import { Observable } from 'rxjs';
import { atEnd } from '../support/at-end.js';
import type { Address, RawPeer, WireMessage } from '../support/frames.js';
import { Logbook } from '../support/logbook.js';
import {
  freeAddress,
  makeClient,
  startNestServer,
  TRANSPORTS,
  type NestServer,
} from '../support/nest-server.js';
import { rejectionOf } from '../support/rejection.js';
import { until } from '../support/until.js';
import {
  cancel,
  connectByHand,
  heard,
  message,
  nextRequest,
  nextResponse,
  nextWhere,
  RawServer,
  request,
  response,
} from '../support/wire.js';

const CREDIT_CAPS = ['stream', 'cancel', 'credit'];

/** How far the streams below have come. */
class Progress extends Logbook {
  made = 0;
}

@Controller()
class Source {
  constructor(private readonly progress: Progress) {}

  @MessagePattern('pulled')
  async *pulled(@Payload() to: number): AsyncGenerator<number> {
    try {
      for (let number = 1; number <= to; number++) {
        this.progress.made++;
        yield number;
      }
    } finally {
      this.progress.note('returned');
    }
  }

  /** All at once; then it completes, fails or goes on, as it is told. */
  @MessagePattern('pushed')
  pushed(
    @Payload() { to, then, size = 0 }: { to: number; then: string; size?: number },
  ): Observable<unknown> {
    return new Observable((subscriber) => {
      for (let number = 1; number <= to; number++) {
        if (subscriber.closed) break;
        this.progress.made++;
        subscriber.next(size === 0 ? number : 'x'.repeat(size));
      }
      if (then === 'complete') subscriber.complete();
      if (then === 'fail') subscriber.error(new RpcException({ message: 'no more', code: 'NO_MORE' }));
      return () => this.progress.note('unsubscribed');
    });
  }

  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    return data;
  }
}

interface Bench extends NestServer {
  readonly progress: Progress;
}

async function startServer(options: UnixSocketServerOptions = freeAddress('unix')): Promise<Bench> {
  const progress = new Progress();
  const providers = [{ provide: Progress, useValue: progress }];
  const nest = await startNestServer(
    { controllers: [Source], providers },
    { drainTimeoutMs: 20, ...options },
  );
  return { ...nest, progress };
}

async function byHand(address: Address, options?: { isUpgraded: boolean }): Promise<RawPeer> {
  const peer = await connectByHand(address, options);
  atEnd(() => peer.destroy());
  return peer;
}

function credit(id: unknown, values: unknown): Buffer {
  return message('heartbeat', id as string, null, { credit: values });
}

/** What has come for `id`, once the other end has handled all that was sent before: values, then how it ended. */
async function answers(peer: RawPeer, id = '1'): Promise<unknown[]> {
  await heard(peer);
  return peer.received
    .filter(({ msg_type: type, request_id: of }) => type === 'response' && of === id)
    .map(({ data, end, error }) => error ?? (end === true ? 'end' : data));
}

describe('A caller that gives credit', () => {
  it('is sent no more values than that, and an async generator is asked for none besides', async () => {
    const { address, progress } = await startServer();
    const peer = await byHand(address);
    await peer.send(request('1', 'pulled', 6, { credit: 2 }));
    expect(await answers(peer)).toEqual([1, 2]);
    expect(progress.made).toBe(2);
    await peer.send(credit('1', 1), credit('1', 2));
    expect(await answers(peer)).toEqual([1, 2, 3, 4, 5]);
    expect(progress.made).toBe(5);
    await peer.send(credit('1', 100));
    expect(await answers(peer)).toEqual([1, 2, 3, 4, 5, 6, 'end']);
  });

  it('may give none at first', async () => {
    const { address, progress } = await startServer();
    const peer = await byHand(address);
    await peer.send(request('1', 'pulled', 1, { credit: 0 }), request('2', 'echo', 'value', { credit: 0 }));
    expect(await answers(peer)).toEqual([]);
    expect(progress.made).toBe(0);
    // A single value is the answer of the request itself.
    expect(await answers(peer, '2')).toEqual(['value']);
    await peer.send(credit('1', 2));
    expect(await answers(peer)).toEqual([1, 'end']);
  });

  it.each([
    ['completes', 'complete', 'end'],
    ['fails', 'fail', 'no more'],
  ])('gets all values of an Observable before it %s', async (_name, then, last) => {
    const { address, server } = await startServer();
    const peer = await byHand(address);
    await peer.send(request('1', 'pushed', { to: 4, then }, { credit: 1 }));
    expect(await answers(peer)).toEqual([1]);
    expect(server.getStats().inFlight).toBe(1);
    await peer.send(credit('1', 2));
    expect(await answers(peer)).toEqual([1, 2, 3]);
    // Others do not wait behind it.
    await peer.send(request('2', 'echo', 'others'));
    expect(await answers(peer, '2')).toEqual(['others']);
    await peer.send(credit('1', 1));
    expect(await answers(peer)).toEqual([1, 2, 3, 4, last]);
    expect(server.getStats().inFlight).toBe(0);
  });

  it('gets an error instead of an Observable that has more to say than may wait, and nothing else is hurt', async () => {
    const { address, server, progress } = await startServer({
      ...freeAddress('unix'),
      maxSendQueueBytes: 200_000,
    });
    const peer = await byHand(address);
    await peer.send(request('1', 'pushed', { to: 3, then: 'go on' }, { credit: 1 }));
    await peer.send(request('2', 'pushed', { to: 1_000, then: 'go on', size: 10_000 }, { credit: 0 }));
    const failure = await nextResponse(peer, '2');
    expect(failure).toMatchObject({ data: null, error_detail: { code: 'STREAM_OVERFLOW' } });
    await progress.until('unsubscribed');
    expect(server.getStats().errorsByCode).toMatchObject({ STREAM_OVERFLOW: 1 });
    await peer.send(credit('1', 2));
    expect(await answers(peer)).toEqual([1, 2, 3]);
    expect(server.getStats().inFlight).toBe(1);
    // What it had kept is free again.
    for (const id of ['3', '4', '5']) {
      await peer.send(request(id, 'pushed', { to: 15, then: 'complete', size: 10_000 }, { credit: 0 }));
      await heard(peer);
      await peer.send(id === '4' ? credit(id, 15) : cancel(id));
      expect(await answers(peer, id)).toHaveLength(id === '4' ? 16 : 0);
    }
    expect(server.getStats().inFlight).toBe(1);
  });

  it('gives it to a call that is known by its id, too', async () => {
    const { address, server } = await startServer({
      ...freeAddress('unix'),
      deduplication: { enabled: true },
    });
    const peer = await byHand(address);
    await peer.send(request('1', 'pulled', 4, { credit: 1 }));
    expect(await answers(peer)).toEqual([1]);
    const stranger = await byHand(address);
    await stranger.send(credit('1', 10));
    await heard(stranger);
    expect(await answers(peer)).toEqual([1]);
    await peer.send(credit('1', 1));
    expect(await answers(peer)).toEqual([1, 2]);

    peer.destroy();
    await until(() => server.getStats().activeConnections === 1);
    const back = await byHand(address);
    // Its request is the same; what it gave before counts once.
    await back.send(request('1', 'pulled', 4, { credit: 1 }));
    expect(await answers(back)).toEqual([1, 2]);
    await back.send(credit('1', 1));
    expect(await answers(back)).toEqual([1, 2, 3]);
  });

  it.each([-1, 1.5, 2 ** 60, '5', null, [], {}])('that is none (%p) gives none', async (nonsense) => {
    const { address, progress } = await startServer();
    const peer = await byHand(address);
    await peer.send(request('1', 'pulled', 3, { credit: nonsense }));
    expect(await answers(peer)).toEqual([1, 2, 3, 'end']);
    await peer.send(request('2', 'pulled', 3, { credit: 1 }));
    expect(await answers(peer, '2')).toEqual([1]);
    await peer.send(credit('2', nonsense), credit('3', nonsense), credit(nonsense, 1), credit('', 1));
    expect(await answers(peer, '2')).toEqual([1]);
    await peer.send(credit('2', Number.MAX_SAFE_INTEGER), credit('2', Number.MAX_SAFE_INTEGER));
    expect(await answers(peer, '2')).toEqual([1, 2, 3, 'end']);
    await peer.send(credit('2', 1), credit('1', 1));
    expect(await answers(peer, '2')).toHaveLength(4);
    expect(progress.made).toBe(6);
    // None of this is a beat to be answered.
    const beats = peer.received.filter(
      ({ msg_type: type, probe_ack: ack }) => type === 'heartbeat' && ack === undefined,
    );
    expect(beats).toEqual([]);
  });

  it('and is a plain peer is served as ever', async () => {
    const { address } = await startServer();
    const peer = await byHand(address, { isUpgraded: false });
    await peer.send(request('1', 'pulled', 3, { credit: 0 }));
    expect(await nextResponse(peer, '1')).toMatchObject({ data: 3 });
    await peer.send(credit('1', 1));
    expect(await peer.next()).toMatchObject({ msg_type: 'heartbeat' });
  });
});

describe.each(TRANSPORTS)('client.stream() over %s', (transport) => {
  it('has the server make no more than the loop takes, and ends it with the loop', async () => {
    const { address, progress, server } = await startServer(freeAddress(transport));
    const client = makeClient(address);
    const taken: number[] = [];
    for await (const number of client.stream<number>('pulled', 1_000_000, { window: 4 })) {
      taken.push(number);
      await client.request('echo', null);
      expect(progress.made - number).toBeLessThanOrEqual(4);
      if (number === 20) break;
    }
    expect(taken).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
    await progress.until('returned');
    expect(server.getStats().inFlight).toBe(0);
    expect(client.getStats().pending).toBe(0);
  });

  it('gives every value of an Observable in order, then its end or its error', async () => {
    const { address } = await startServer(freeAddress(transport));
    const client = makeClient(address);
    const taken: unknown[] = [];
    for await (const value of client.stream('pushed', { to: 500, then: 'complete' })) taken.push(value);
    expect(taken).toHaveLength(500);
    expect(taken.at(-1)).toBe(500);

    const failing = client.stream('pushed', { to: 2, then: 'fail' }, { window: 1 });
    expect([await failing.next(), await failing.next()]).toEqual([
      { done: false, value: 1 },
      { done: false, value: 2 },
    ]);
    expect(await rejectionOf(failing.next())).toMatchObject({ code: 'NO_MORE', message: 'no more' });
    expect(await failing.next()).toEqual({ done: true, value: undefined });
  });
});

describe('client.stream()', () => {
  it('makes no call before it is asked, and one value of a plain answer', async () => {
    const { address, progress } = await startServer();
    const client = makeClient(address);
    const unasked = client.stream('pulled', 5);
    await unasked.return?.();
    expect(await unasked.next()).toEqual({ done: true, value: undefined });
    const values: unknown[] = [];
    for await (const value of client.stream('echo', 'one')) values.push(value);
    expect(values).toEqual(['one']);
    expect(progress.made).toBe(0);
  });

  it('is ended by its signal, before and within', async () => {
    const { address, progress } = await startServer();
    const client = makeClient(address);
    const aborted = client.stream('pulled', 5, { signal: AbortSignal.abort('never') });
    expect(await rejectionOf(aborted.next())).toMatchObject({ code: 'REQUEST_ABORTED', delivery: 'notSent' });
    const controller = new AbortController();
    const values = client.stream('pulled', 1_000, { signal: controller.signal });
    await values.next();
    controller.abort('enough');
    expect(await rejectionOf(values.next())).toMatchObject({ code: 'REQUEST_ABORTED', cause: 'enough' });
    await progress.until('returned');
  });

  it('refuses a window that is none', () => {
    const client = makeClient({ path: '/nowhere' });
    for (const window of [0, -1, 1.5, Number.NaN, '3' as never])
      expect(() => client.stream('pulled', 1, { window })).toThrow(InvalidOptionError);
  });

  it('lets the loop take its time, and does not take its silence for that of the server', async () => {
    const { address } = await startServer();
    const client = makeClient({ ...address, idleTimeoutMs: 40 });
    const taken: unknown[] = [];
    for await (const value of client.stream('pulled', 3, { window: 1 })) {
      taken.push(value);
      await new Promise((resolve) => setTimeout(resolve, 80));
    }
    expect(taken).toEqual([1, 2, 3]);
  });
});

async function rawPair(caps: readonly string[]): Promise<{ link: Link; peer: RawPeer }> {
  const server = await RawServer.listen(freeAddress('unix'));
  atEnd(() => server.close());
  const link = new Link({ ...server.address, drainTimeoutMs: 0, reconnect: { enabled: false } });
  atEnd(() => link.close());
  const connected = link.connect();
  const peer = await server.accept();
  await peer.send(response('', { account_id: '', conn_id: '00000001', caps }));
  await connected;
  return { link, peer };
}

const isCredit = ({ credit: values }: WireMessage): boolean => values !== undefined;

describe('What a loop says on the wire', () => {
  const more = (id: string, count: number): Buffer =>
    Buffer.concat(Array.from({ length: count }, (_, index) => response(id, index, { more: true })));

  it('is its window with the request, and credit by halves as it takes values', async () => {
    const { link, peer } = await rawPair(CREDIT_CAPS);
    const values = stream(link, 'numbers', null, { window: 4 });
    const first = values.next();
    const { request_id: id, credit: window } = await nextRequest(peer);
    expect(window).toBe(4);
    await peer.send(more(id, 4));
    await first;
    await values.next();
    expect(await nextWhere(peer, isCredit)).toMatchObject({
      msg_type: 'heartbeat',
      request_id: id,
      data: null,
      credit: 2,
    });
    await peer.send(more(id, 2));
    // The end of the connection comes behind what is here already.
    peer.destroy();
    await until(() => !link.isConnected);
    for (let count = 0; count < 4; count++) expect(await values.next()).toMatchObject({ done: false });
    expect(await rejectionOf(values.next())).toMatchObject({ code: 'CONNECTION_LOST' });
  });

  it('is nothing to a server that does not know credit, and nothing of other calls', async () => {
    const { link, peer } = await rawPair(['stream', 'cancel']);
    const values = stream(link, 'numbers', null);
    const first = values.next();
    const asked = await nextRequest(peer);
    expect(asked).not.toHaveProperty('credit');
    await peer.send(more(asked.request_id, 100));
    await first;
    for (let count = 1; count < 100; count++) await values.next();
    expect(peer.received.filter(isCredit)).toEqual([]);

    await peer.send(more(asked.request_id, 10_001));
    const { request_id: id } = await nextWhere(peer, ({ msg_type: type }) => type === 'error');
    expect(id).toBe(asked.request_id);
    expect(await rejectionOf(values.next())).toBeInstanceOf(StreamOverflowError);

    const other = await rawPair(CREDIT_CAPS);
    const answer = requestOf(other.link, 'echo', null);
    const { request_id: echo, ...rest } = await nextRequest(other.peer);
    expect(rest).not.toHaveProperty('credit');
    await other.peer.send(response(echo, 1));
    expect(await answer).toBe(1);
  });

  it('cancels the call of a server that sends more than it may', async () => {
    const { link, peer } = await rawPair(CREDIT_CAPS);
    const values = stream(link, 'numbers', null, { window: 2 });
    const first = values.next();
    const { request_id: id } = await nextRequest(peer);
    await peer.send(more(id, 8));
    await first;
    await nextWhere(peer, ({ msg_type: type, request_id: of }) => type === 'error' && of === id);
    expect(await rejectionOf(values.next())).toMatchObject({ code: 'STREAM_OVERFLOW', delivery: 'replied' });
    expect(link.getStats().pending).toBe(0);
  });
});

describe('A server that reads a stream of its client', () => {
  it('has it make no more than its loop takes', async () => {
    let onCallable: (connection: ClientConnection) => void;
    const callable = new Promise<ClientConnection>((resolve) => (onCallable = resolve));
    const server = new SocketServer(freeAddress('unix'), {
      onCallable: (connection) => onCallable(connection),
    });
    await server.listen();
    atEnd(() => server.close());
    const link = new Link({ ...(server.endpoint as { path: string }), drainTimeoutMs: 0 });
    atEnd(() => link.close());
    let made = 0;
    let isReturned = false;
    link.handle('numbers', async function* () {
      try {
        for (;;) yield ++made;
      } finally {
        isReturned = true;
      }
    });
    await link.connect();
    const connection = await callable;
    for await (const number of connection.iterate<number>('numbers', null, { window: 2 })) {
      await new Promise(setImmediate);
      expect(made - number).toBeLessThanOrEqual(2);
      if (number === 10) break;
    }
    await until(() => isReturned);
  });
});
