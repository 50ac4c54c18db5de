import {
  ConnectionClosedError,
  ConnectionLostError,
  EncodeError,
  InvalidOptionError,
  Link,
  NotCallableError,
  PendingCallsFullError,
  RefusedError,
  RemoteError,
  request,
  RequestAbortedError,
  RequestTimeoutError,
  SendQueueFullError,
  SocketServer,
  type ClientConnection,
  type LinkOptions,
  type RequestInfo,
  type SocketServerEvents,
  type SocketServerOptions,
} from 'nestjs-unix-socket';
import { atEnd } from '../support/at-end.js';
import { rejectionOf } from '../support/rejection.js';
import { tempSocketPath } from '../support/temp-paths.js';
import { until } from '../support/until.js';
import {
  cancel,
  connectByHand,
  greeting,
  heard,
  hello,
  message,
  nextRequest,
  nextResponse,
  nextWhere,
  RawServer,
  request as requestFrame,
  response,
} from '../support/wire.js';

const CALLABLE = { hello: { name: 'by hand', caps: ['reverse', 'ack'] } };

type Handlers = Record<string, (data: never, call: RequestInfo) => unknown>;

interface Pair {
  readonly server: SocketServer;
  readonly link: Link;
  /** The link as the server sees it. */
  readonly connection: ClientConnection;
}

/** Where a link reaches a listening server. */
function addressOf({ endpoint }: SocketServer): { path: string } | { host: string; port: number } {
  return endpoint as { path: string } | { host: string; port: number };
}

async function startServer(
  options: SocketServerOptions = { path: tempSocketPath() },
  events?: SocketServerEvents,
): Promise<SocketServer> {
  const server = new SocketServer({ drainTimeoutMs: 1_000, ...options }, events);
  await server.listen();
  atEnd(() => server.close());
  return server;
}

/** A server and a link that takes calls, by `handlers`, and has said so. */
async function startPair({
  server: serverOptions = { path: tempSocketPath() },
  link: linkOptions = {},
  handlers = {},
  handle = {},
}: {
  server?: SocketServerOptions;
  link?: LinkOptions;
  handlers?: Handlers;
  handle?: Handlers;
} = {}): Promise<Pair> {
  let onCallable: (connection: ClientConnection) => void;
  const callable = new Promise<ClientConnection>((resolve) => (onCallable = resolve));
  const server = await startServer(serverOptions, { onCallable: (connection) => onCallable(connection) });
  for (const [type, handler] of Object.entries(handle)) server.handle(type, handler);
  const link = new Link({ drainTimeoutMs: 1_000, ...linkOptions, ...addressOf(server) });
  atEnd(() => link.close());
  link.handle('echo', (data) => data);
  for (const [type, handler] of Object.entries(handlers)) link.handle(type, handler);
  await link.connect();
  return { server, link, connection: await callable };
}

/** Something to wait for, and to let go. */
function gate(): { readonly opened: Promise<void>; open(): void } {
  let open!: () => void;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}

/** Everything one streamed call gives. */
function collect(
  connection: ClientConnection,
  type: string,
  data: unknown = null,
): { readonly values: unknown[]; readonly end: Promise<unknown>; cancel(): void } {
  const values: unknown[] = [];
  let stop!: () => void;
  const end = new Promise((resolve) => {
    stop = connection.stream(type, data, {
      next: (value) => void values.push(value),
      error: resolve,
      complete: () => resolve('complete'),
    });
  });
  return { values, end, cancel: () => stop() };
}

describe.each([
  ['a Unix socket', (): SocketServerOptions => ({ path: tempSocketPath() })],
  ['TCP', (): SocketServerOptions => ({ port: 0 })],
])('Calls from a server to a client over %s', (_name, endpoint) => {
  it('are answered by functions of the client, with data, bytes and metadata both ways', async () => {
    const { connection, server, link } = await startPair({
      server: endpoint(),
      handlers: {
        describe: (data: unknown, { type, meta }) => ({ data, type, meta }),
        nothing: () => undefined,
        bytes: (data: Buffer) => Buffer.concat([data, Buffer.from([0, 255])]),
      },
    });
    expect(connection.isCallable).toBe(true);
    expect(await connection.request('describe', { deep: [1, 'ä'] }, { meta: { trace: 'x' } })).toEqual({
      data: { deep: [1, 'ä'] },
      type: 'describe',
      meta: { trace: 'x' },
    });
    expect(await connection.request('nothing', null)).toBeUndefined();
    expect(await connection.request('bytes', Buffer.from('ü'))).toEqual(Buffer.from([195, 188, 0, 255]));
    expect(server.getStats().pending).toBe(0);
    expect(link.getStats().handlerLatencyMs.count).toBe(3);
  });

  it('run beside calls the other way on one connection, whatever their ids', async () => {
    const { link, connection } = await startPair({ server: endpoint(), handle: { echo: (data) => data } });
    const there = Array.from({ length: 200 }, (_, i) => connection.request('echo', `there ${i}`));
    const here = Array.from({ length: 200 }, (_, i) => request(link, 'echo', `here ${i}`));
    expect(await Promise.all(there)).toEqual(there.map((_, i) => `there ${i}`));
    expect(await Promise.all(here)).toEqual(here.map((_, i) => `here ${i}`));
  });

  it('fail with the error of the handler, whole', async () => {
    const { connection, server } = await startPair({
      server: endpoint(),
      handlers: {
        fail: () => {
          throw Object.assign(new Error('out of paper'), { code: 'PAPER', details: { tray: 2 } });
        },
        loop: () => {
          const circular: Record<string, unknown> = {};
          circular['self'] = circular;
          return circular;
        },
      },
    });
    expect(await rejectionOf(connection.request('fail', null))).toMatchObject({
      name: 'RemoteError',
      message: 'out of paper',
      code: 'PAPER',
      details: { tray: 2 },
      delivery: 'replied',
    });
    expect(await rejectionOf(connection.request('unheard', null))).toMatchObject({
      name: 'RemoteError',
      code: 'UNKNOWN_PATTERN',
      delivery: 'replied',
    });
    expect(await rejectionOf(connection.request('loop', null))).toMatchObject({ code: 'UNENCODABLE_VALUE' });
    expect(server.getStats().failuresByCode).toEqual({ PAPER: 1, UNKNOWN_PATTERN: 1, UNENCODABLE_VALUE: 1 });
    expect(await connection.request('echo', 'still there')).toBe('still there');
  });

  it('are cancelled by their signal, their time limit and the end of their observer', async () => {
    const reasons: string[] = [];
    let started = 0;
    const { connection } = await startPair({
      server: endpoint(),
      handlers: {
        wait: (_data: null, { signal }) => {
          started++;
          return new Promise((resolve) => {
            signal.addEventListener('abort', () => {
              reasons.push((signal.reason as { code: string }).code);
              resolve('too late');
            });
          });
        },
      },
    });
    const controller = new AbortController();
    const aborted = rejectionOf(connection.request('wait', null, { signal: controller.signal }));
    const limited = rejectionOf(connection.request('wait', null, { timeoutMs: 60 }));
    const streamed = collect(connection, 'wait');
    await until(() => started === 3);
    controller.abort('enough');
    streamed.cancel();
    expect(await aborted).toMatchObject({ delivery: 'sentNoReply', cause: 'enough' });
    expect(await aborted).toBeInstanceOf(RequestAbortedError);
    expect(await limited).toBeInstanceOf(RequestTimeoutError);
    await until(() => reasons.length === 3);
    // Which of the two ends of the time limit is first is up to their clocks.
    expect(reasons.toSorted().slice(0, 2)).toEqual(['CANCELLED', 'CANCELLED']);
    expect(
      await rejectionOf(connection.request('wait', null, { signal: AbortSignal.abort() })),
    ).toMatchObject({
      delivery: 'notSent',
    });
  });

  it('fail when the client is cut, and say that they may have run', async () => {
    const { connection, server, link } = await startPair({
      server: endpoint(),
      link: { reconnect: { enabled: false } },
      handlers: { hang: () => new Promise(() => {}) },
    });
    const failures = [1, 2].map(() => rejectionOf(connection.request('hang', null)));
    await until(() => link.getStats().inFlight === 2);
    link.readySession?.stream.destroy();
    for (const failure of await Promise.all(failures)) {
      expect(failure).toBeInstanceOf(ConnectionLostError);
      expect(failure).toMatchObject({ delivery: 'sentNoReply' });
    }
    await until(() => link.getStats().inFlight === 0);
    const late = await rejectionOf(connection.request('echo', null));
    expect(late).toBeInstanceOf(ConnectionClosedError);
    expect(late).toMatchObject({ delivery: 'notSent' });
    expect(server.getStats()).toMatchObject({
      pending: 0,
      failuresByCode: { CONNECTION_LOST: 2, CONNECTION_CLOSED: 1 },
    });
  });

  it('and calls back make no slot wait for another, at the limits of both ends', async () => {
    const slots = 4;
    const depths: number[] = [];
    const pair: Pair = await startPair({
      server: { ...endpoint(), maxConcurrentPerConnection: slots },
      link: { maxConcurrentPerConnection: slots },
      handlers: {
        down: async (depth: number) => {
          depths.push(depth);
          return depth === 0 ? 'bottom' : request(pair.link, 'up', depth - 1, { timeoutMs: 5_000 });
        },
      },
      handle: {
        up: async (depth: number) => pair.connection.request('down', depth, { timeoutMs: 5_000 }),
      },
    });
    const calls = Array.from({ length: slots * 3 }, () => request(pair.link, 'up', 5, { timeoutMs: 5_000 }));
    expect(await Promise.all(calls)).toEqual(calls.map(() => 'bottom'));
    expect(depths).toHaveLength(slots * 3 * 6);
  });
});

describe('A client that takes no calls', () => {
  it('gives a typed error at once, plain or without handlers, until it has one', async () => {
    const callable: ClientConnection[] = [];
    const server = await startServer(undefined, {
      onCallable: (connection) => void callable.push(connection),
    });
    const plain = await connectByHand(addressOf(server), { isUpgraded: false });
    atEnd(() => plain.destroy());
    const link = new Link(addressOf(server));
    atEnd(() => link.close());
    await link.connect();
    await link.healthCheck(1_000);

    expect(server.connections()).toHaveLength(2);
    for (const connection of server.connections()) {
      const failure = await rejectionOf(connection.request('echo', null));
      expect(failure).toBeInstanceOf(NotCallableError);
      expect(failure).toMatchObject({
        code: 'NOT_CALLABLE',
        delivery: 'notSent',
        connectionId: connection.id,
      });
      expect(await collect(connection, 'echo').end).toBeInstanceOf(NotCallableError);
    }
    const [, ours] = server.connections() as [ClientConnection, ClientConnection];
    expect(callable).toEqual([]);
    link.handle('echo', (data) => data);
    await link.healthCheck(1_000);
    expect(callable).toEqual([ours]);
    expect(await ours.request('echo', 1)).toBe(1);
    expect(plain.received).toHaveLength(1);
  });

  it('is asked again after it has reconnected', async () => {
    const callable: ClientConnection[] = [];
    const server = await startServer(undefined, {
      onCallable: (connection) => void callable.push(connection),
    });
    const link = new Link({ ...addressOf(server), reconnect: { initialDelayMs: 1 } });
    atEnd(() => link.close());
    link.handle('echo', (data) => data);
    await link.connect();
    await until(() => callable.length === 1);
    link.readySession?.stream.destroy();
    await until(() => callable.length === 2);
    expect(await callable[1]?.request('echo', 2)).toBe(2);
  });
});

describe('What a server asks of a client', () => {
  it('is refused before it is sent: undefined, a circular object, a bad limit, a frame too large', async () => {
    const { connection } = await startPair({ link: { maxFrameBytes: 2_000 } });
    const circular: Record<string, unknown> = {};
    circular['self'] = circular;
    expect(await rejectionOf(connection.request('echo', undefined))).toBeInstanceOf(EncodeError);
    expect(await rejectionOf(connection.request('echo', circular))).toBeInstanceOf(EncodeError);
    expect(await rejectionOf(connection.request('echo', 1, { timeoutMs: -1 }))).toBeInstanceOf(
      InvalidOptionError,
    );
    expect(await rejectionOf(connection.request('echo', 'x'.repeat(2_000)))).toMatchObject({
      code: 'FRAME_TOO_LARGE',
    });
    expect(await connection.request('echo', 'fits')).toBe('fits');
  });

  it('waits its turn there, and is refused beyond the limits of the client', async () => {
    const { opened, open } = gate();
    let running = 0;
    let most = 0;
    const { connection, link } = await startPair({
      link: { maxConcurrentPerConnection: 2, maxQueuedPerConnection: 3 },
      handlers: {
        work: async (data: number) => {
          most = Math.max(most, ++running);
          await opened;
          running--;
          return data;
        },
      },
    });
    const outcomes = Promise.allSettled(Array.from({ length: 7 }, (_, i) => connection.request('work', i)));
    await until(() => link.getStats().errorsByCode['OVERLOADED'] === 2);
    expect(link.getStats()).toMatchObject({ inFlight: 2, queued: 3 });
    open();
    const refused = { status: 'rejected', reason: expect.any(RefusedError) as unknown };
    expect(await outcomes).toEqual([
      ...[0, 1, 2, 3, 4].map((value) => ({ status: 'fulfilled', value })),
      refused,
      refused,
    ]);
    expect(most).toBe(2);
  });

  it('has limits of its own: calls without an answer, and bytes that are not read', async () => {
    const server = await startServer({
      path: tempSocketPath(),
      maxPendingPerConnection: 2,
      maxSendQueueBytes: 1_024,
    });
    const peer = await connectByHand(addressOf(server));
    atEnd(() => peer.destroy());
    await peer.send(message('heartbeat', '', null, CALLABLE));
    await heard(peer);
    const [connection] = server.connections() as [ClientConnection];
    const first = connection.request('hang', 1);
    const second = rejectionOf(connection.request('hang', 'x'.repeat(4_000_000)));
    expect(await rejectionOf(connection.request('hang', 3))).toBeInstanceOf(PendingCallsFullError);
    await peer.send(response((await nextRequest(peer)).request_id, 'answered'));
    expect(await first).toBe('answered');
    peer.socket.pause();
    const failure = rejectionOf(connection.request('hang', 'x'.repeat(4_000_000)));
    const full = await rejectionOf(connection.request('hang', 4));
    expect([full instanceof SendQueueFullError, full instanceof PendingCallsFullError]).toContain(true);
    peer.destroy();
    expect(await second).toBeInstanceOf(ConnectionLostError);
    await failure;
  });

  it('times out by default, and between the values of a stream if told so', async () => {
    const server = await startServer({ path: tempSocketPath(), requestTimeoutMs: 40, idleTimeoutMs: 60 });
    const peer = await connectByHand(addressOf(server));
    atEnd(() => peer.destroy());
    await peer.send(message('heartbeat', '', null, CALLABLE));
    await heard(peer);
    const [connection] = server.connections() as [ClientConnection];
    const silent = await rejectionOf(connection.request('silent', null));
    expect(silent).toMatchObject({ code: 'REQUEST_TIMEOUT', delivery: 'sentNoReply', timeoutMs: 40 });
    const { request_id: silentId } = await nextRequest(peer);
    await nextWhere(peer, ({ msg_type: type, request_id: id }) => type === 'error' && id === silentId);

    const stream = collect(connection, 'stops');
    const { request_id: id } = await nextRequest(peer);
    for (const value of [1, 2]) {
      await peer.send(response(id, value, { more: true }));
      await until(() => stream.values.length === value);
    }
    expect(await stream.end).toBeInstanceOf(RequestTimeoutError);
    expect(stream.values).toEqual([1, 2]);
  });
});

describe('A hostile client', () => {
  it('answers what nobody asked, twice, and for others, and disturbs no call', async () => {
    const server = await startServer();
    const peers = await Promise.all(
      [0, 1].map(async () => {
        const peer = await connectByHand(addressOf(server));
        atEnd(() => peer.destroy());
        await peer.send(message('heartbeat', '', null, CALLABLE));
        await heard(peer);
        return peer;
      }),
    );
    const [bad, good] = peers as [(typeof peers)[0], (typeof peers)[0]];
    const [first, second] = server.connections() as [ClientConnection, ClientConnection];
    const toBad = collect(first, 'job');
    const toGood = collect(second, 'job');
    const { request_id: badId } = await nextRequest(bad);
    const { request_id: goodId } = await nextRequest(good);
    const strangeIds = ['', '-', `${badId}0`, badId.slice(0, -2), goodId, '0', 'x-0', 7, null, {}, [badId]];
    for (const id of strangeIds) await bad.send(response(id as string, 'forged'), cancel(id as string));
    for (let i = 0; i < 2_000; i++) await bad.send(response(`${i}-0`, { flood: i }));
    await heard(bad);
    await bad.send(
      response(badId, 'once'),
      response(badId, 'twice'),
      response(badId, null, { error: 'thrice' }),
    );
    await heard(bad);
    expect(await toBad.end).toBe('complete');
    expect(toBad.values).toEqual(['once']);
    await good.send(response(goodId, 'mine'));
    expect(await toGood.end).toBe('complete');
    expect(toGood.values).toEqual(['mine']);
    expect(server.getStats()).toMatchObject({ pending: 0, errors: 0 });
  });

  it('gets errors of any shape through as errors', async () => {
    const server = await startServer();
    const peer = await connectByHand(addressOf(server));
    atEnd(() => peer.destroy());
    await peer.send(message('heartbeat', '', null, CALLABLE));
    await heard(peer);
    const [connection] = server.connections() as [ClientConnection];
    for (const error of ['text', 7, { deep: [1] }, true]) {
      const failure = rejectionOf(connection.request('job', null));
      const { request_id: id } = await nextRequest(peer);
      await peer.send(response(id, null, { error, error_detail: ['no', 'record'] }));
      expect(await failure).toBeInstanceOf(RemoteError);
    }
  });

  it('says hello again and again, and is the same client', async () => {
    const callable: ClientConnection[] = [];
    const server = await startServer(undefined, {
      onCallable: (connection) => void callable.push(connection),
    });
    const peer = await connectByHand(addressOf(server));
    atEnd(() => peer.destroy());
    for (const said of [
      CALLABLE,
      { hello: { name: 'other', caps: ['reverse', 3, null] } },
      { hello: 'x' },
      {},
    ])
      await peer.send(message('heartbeat', '', null, said));
    await peer.send(hello());
    await heard(peer);
    expect(callable).toHaveLength(1);
    expect(callable[0]).toMatchObject({ clientName: 'by hand', isCallable: true });
  });
});

describe('A hostile server', () => {
  async function startLink(options: Partial<LinkOptions> = {}) {
    const server = await RawServer.listen({ path: tempSocketPath() });
    atEnd(() => server.close());
    const link = new Link({ ...(server.address as { path: string }), drainTimeoutMs: 200, ...options });
    atEnd(() => link.close());
    link.handle('echo', (data) => data);
    const connected = link.connect();
    const peer = await server.accept();
    return { link, peer, connected };
  }

  it('is answered only if it is upgraded', async () => {
    const { peer, connected, link } = await startLink();
    await peer.send(greeting({ isUpgraded: false }));
    await connected;
    await peer.send(requestFrame('1', 'echo', 1));
    const health = link.healthCheck(1_000);
    await nextWhere(peer, ({ msg_type: type }) => type === 'heartbeat');
    await peer.send(message('heartbeat', '', null));
    expect(await health).toBe(true);
    expect(peer.received.filter(({ msg_type: type }) => type === 'response')).toEqual([]);
  });

  it('is told of unknown patterns, passed deadlines and overload, and cancels only its own calls', async () => {
    const { peer, connected, link } = await startLink({
      maxConcurrentPerConnection: 1,
      maxQueuedPerConnection: 0,
    });
    await peer.send(greeting());
    await connected;
    const said = await nextWhere(peer, ({ hello: data }) => data !== undefined);
    expect((said['hello'] as { caps: string[] }).caps).toEqual(expect.arrayContaining(['reverse', 'ack']));
    link.handle('hang', () => new Promise(() => {}));
    await peer.send(requestFrame('1', 'unheard', 1), requestFrame('2', 'echo', 1, { deadline_ms: 0 }));
    expect(await nextResponse(peer, '1')).toMatchObject({ error: 'Unknown request type' });
    expect(await nextResponse(peer, '2')).toMatchObject({
      error_detail: { code: 'DEADLINE_EXCEEDED', refused: true },
    });
    await peer.send(requestFrame('3', 'hang', 1), requestFrame('4', 'echo', 1));
    expect(await nextResponse(peer, '4')).toMatchObject({
      error_detail: { code: 'OVERLOADED', refused: true },
    });
    await peer.send(cancel('4'), cancel('nobody'), cancel('3'), requestFrame('5', 'echo', 5));
    expect(await nextResponse(peer, '5')).toMatchObject({ data: 5 });
    await peer.send(requestFrame({} as never, 'echo', 6));
    expect(await nextWhere(peer, ({ data }) => data === 6)).toMatchObject({ request_id: {} });
    await peer.send(requestFrame('7', 9 as never, 7));
    expect(await nextResponse(peer, '7')).toMatchObject({ error: 'Unknown request type' });
  });

  it('that reads no answers is cut, not remembered', async () => {
    const { peer, connected, link } = await startLink({
      maxSendQueueBytes: 100_000,
      maxQueuedPerConnection: 10,
      reconnect: { enabled: false },
    });
    await peer.send(greeting());
    await connected;
    peer.socket.pause();
    link.handle('big', () => 'x'.repeat(50_000));
    const many = Buffer.concat(Array.from({ length: 2_000 }, (_, i) => requestFrame(`${i}`, 'big', null)));
    await peer.send(many).catch(() => undefined);
    await until(() => !link.isConnected);
    expect(link.lastError?.code).toBe('SEND_QUEUE_FULL');
  });
});

describe('Closing while a server calls', () => {
  it('a client finishes what it works on, refuses more, and only then leaves', async () => {
    const { opened, open } = gate();
    const { connection, link } = await startPair({
      handlers: {
        work: async () => {
          await opened;
          return 'done';
        },
      },
    });
    const work = connection.request('work', null);
    await until(() => link.getStats().inFlight === 1);
    const closing = link.close();
    await until(() => link.currentState === 'draining');
    expect(await rejectionOf(connection.request('echo', 1))).toMatchObject({
      code: 'DRAINING',
      delivery: 'notSent',
    });
    open();
    expect(await work).toBe('done');
    expect(await closing).toEqual({ unanswered: 0, notSent: 0, cancelled: 0 });
  });

  it('a client serves what its own last calls need', async () => {
    const { opened, open } = gate();
    const pair: Pair = await startPair({
      handle: {
        ask: async () => {
          await opened;
          return pair.connection.request('echo', 'needed');
        },
      },
    });
    const asked = request(pair.link, 'ask', null);
    await until(() => pair.server.getStats().inFlight === 1);
    const closing = pair.link.close();
    await until(() => pair.link.currentState === 'draining');
    open();
    expect(await asked).toBe('needed');
    expect(await closing).toEqual({ unanswered: 0, notSent: 0, cancelled: 0 });
  });

  it('a client cancels what does not finish, and says how much that was', async () => {
    let reason: unknown;
    const { connection, link } = await startPair({
      link: { drainTimeoutMs: 20 },
      handlers: {
        hang: (_data: null, { signal }) => {
          signal.addEventListener('abort', () => (reason = signal.reason));
          return new Promise(() => {});
        },
      },
    });
    const failure = rejectionOf(connection.request('hang', null));
    await until(() => link.getStats().inFlight === 1);
    expect(await link.close()).toEqual({ unanswered: 0, notSent: 0, cancelled: 1 });
    expect(reason).toMatchObject({ code: 'CLIENT_CLOSED' });
    expect(await failure).toMatchObject({ code: 'CONNECTION_LOST', delivery: 'sentNoReply' });
  });

  it('a server waits for the answers of its clients', async () => {
    const { opened, open } = gate();
    const { connection, server, link } = await startPair({
      link: { reconnect: { enabled: false } },
      handlers: {
        work: async () => {
          await opened;
          return 'done';
        },
      },
    });
    const work = connection.request('work', null);
    await until(() => link.getStats().inFlight === 1);
    const closing = server.close();
    await until(() => !link.isConnected);
    // Its client is there still: it works for us.
    expect(await connection.request('echo', 'meanwhile')).toBe('meanwhile');
    open();
    expect(await work).toBe('done');
    expect(await closing).toEqual({ cancelled: 0, unanswered: 0, unfinishedConnections: 0 });
  });

  it('a server gives up the answers that do not come in time', async () => {
    const { connection, server, link } = await startPair({
      server: { path: tempSocketPath(), drainTimeoutMs: 20 },
      link: { reconnect: { enabled: false } },
      handlers: { hang: () => new Promise(() => {}) },
    });
    const failure = rejectionOf(connection.request('hang', null));
    await until(() => link.getStats().inFlight === 1);
    expect(await server.close()).toEqual({ cancelled: 0, unanswered: 1, unfinishedConnections: 1 });
    expect(await failure).toMatchObject({
      code: 'CONNECTION_LOST',
      delivery: 'sentNoReply',
      cause: { code: 'SERVER_CLOSED' },
    });
    await until(() => link.getStats().inFlight === 0);
  });

  it('a server makes no call to a client that has no reason to stay', async () => {
    const server = await startServer();
    const peer = await connectByHand(addressOf(server));
    atEnd(() => peer.destroy());
    await peer.send(message('heartbeat', '', null, CALLABLE));
    await heard(peer);
    const [connection] = server.connections() as [ClientConnection];
    const closing = server.close();
    await nextWhere(peer, ({ error_detail: detail }) => (detail as { code?: string })?.code === 'GOING_AWAY');
    expect(await rejectionOf(connection.request('job', null))).toMatchObject({ code: 'DRAINING' });
    peer.end();
    await closing;
  });
});

describe('An acknowledged push', () => {
  it('resolves once the handlers have finished, in order with other pushes', async () => {
    const { connection, link } = await startPair();
    const seen: unknown[] = [];
    link.pushes.subscribe('tick', async (data) => {
      await new Promise(setImmediate);
      seen.push(data);
    });
    connection.push('tick', 1);
    const acked = connection.pushAcked('tick', 2, { meta: { a: 'b' } });
    connection.push('tick', 3);
    expect(await acked).toBeUndefined();
    expect(seen).toEqual([1, 2]);
    await until(() => seen.length === 3);
  });

  it('rejects with the error of the handler, which the client hears of and counts', async () => {
    const server = await startServer();
    const errors: unknown[] = [];
    const link = new Link(addressOf(server), { onPushHandlerError: (error) => void errors.push(error) });
    atEnd(() => link.close());
    const broken = Object.assign(new Error('no room'), { code: 'ROOM' });
    link.pushes.subscribe('tick', () => Promise.reject(broken));
    link.pushes.subscribe('tick', () => 'works');
    await link.connect();
    await link.healthCheck(1_000);
    const [connection] = server.connections() as [ClientConnection];
    expect(connection.isCallable).toBe(false);
    expect(await rejectionOf(connection.pushAcked('tick', 1))).toMatchObject({
      message: 'no room',
      code: 'ROOM',
    });
    connection.push('tick', 2);
    await until(() => link.getStats().pushesFailed === 2);
    expect(errors).toEqual([broken, broken]);
    expect(await rejectionOf(connection.pushAcked('unheard', 1))).toMatchObject({ code: 'UNKNOWN_PATTERN' });
  });

  it('fails where nobody can answer: a plain client, one that drops it, one that is gone', async () => {
    const server = await startServer();
    const plain = await connectByHand(addressOf(server), { isUpgraded: false });
    atEnd(() => plain.destroy());
    const [connection] = server.connections() as [ClientConnection];
    expect(await rejectionOf(connection.pushAcked('tick', 1))).toBeInstanceOf(NotCallableError);

    const { opened, open } = gate();
    const { connection: slow, link } = await startPair({ link: { maxQueuedPushes: 1 } });
    link.pushes.subscribe('tick', () => opened);
    const outcomes = [1, 2, 3].map((data) =>
      slow.pushAcked('tick', data).then(
        () => 'handled',
        (error: Error) => error,
      ),
    );
    expect(await outcomes[1]).toMatchObject({ code: 'OVERLOADED', delivery: 'notSent' });
    open();
    expect(await Promise.all([outcomes[0], outcomes[2]])).toEqual(['handled', 'handled']);

    link.pushes.subscribe('never', () => new Promise(() => {}));
    const lost = rejectionOf(slow.pushAcked('never', 1));
    const late = rejectionOf(slow.pushAcked('never', 1, { timeoutMs: 10 }));
    expect(await late).toBeInstanceOf(RequestTimeoutError);
    link.readySession?.stream.destroy();
    expect(await lost).toMatchObject({ code: 'CONNECTION_LOST', delivery: 'sentNoReply' });
  });
});
