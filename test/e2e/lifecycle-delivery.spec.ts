import { Controller } from '@nestjs/common';
import { MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import {
  UnixSocketRecordBuilder,
  type Delivery,
  type UnixSocketClientOptions,
  type UnixSocketClientProxy,
  type UnixSocketError,
  type UnixSocketServerOptions,
} from 'nestjs-unix-socket';
import { FaultProxy } from 'nestjs-unix-socket/testing';
import { concat, firstValueFrom, lastValueFrom, NEVER, of, throwError, toArray, type Observable } from 'rxjs';
import { atEnd } from '../support/at-end.js';
import { frame, RawPeer } from '../support/frames.js';
import { Logbook } from '../support/logbook.js';
import {
  freeAddress,
  makeClient,
  startNestServer,
  TRANSPORTS,
  type NestServer,
  type Transport,
} from '../support/nest-server.js';
import { rejectionOf } from '../support/rejection.js';
import {
  cancel,
  connectByHand,
  event,
  heard,
  nextRequest,
  nextResponse,
  nextWhere,
  notice,
  RawServer,
  refusal,
  request,
  response,
} from '../support/wire.js';

const KIB = 1024;
const MIB = 1024 * KIB;

/** What ran, and what holds it up. */
class Desk extends Logbook {
  private readonly gates = new Map<string, () => void>();

  open(label: string): void {
    this.gates.get(label)?.();
  }

  gate(label: string): Promise<void> {
    return new Promise((resolve) => this.gates.set(label, resolve));
  }
}

@Controller()
class Handlers {
  constructor(private readonly desk: Desk) {}

  @MessagePattern('run')
  run(@Payload() label: string): string {
    this.desk.note(label);
    return `${label} done`;
  }

  @MessagePattern('fail')
  fail(@Payload() label: string): never {
    this.desk.note(label);
    throw new RpcException('no');
  }

  @MessagePattern('crash')
  crash(@Payload() label: string): never {
    this.desk.note(label);
    throw new Error('unforeseen');
  }

  @MessagePattern('huge')
  huge(@Payload() label: string): string {
    this.desk.note(label);
    return 'x'.repeat(64 * KIB);
  }

  @MessagePattern('partly')
  partly(@Payload() label: string): Observable<number> {
    this.desk.note(label);
    return concat(of(1, 2), NEVER);
  }

  @MessagePattern('partly-fail')
  partlyFail(@Payload() label: string): Observable<number> {
    this.desk.note(label);
    return concat(
      of(1, 2),
      throwError(() => new RpcException('no')),
    );
  }
}

/** What a row of the table may use. Everything is closed after the test. */
class Bench {
  readonly desk = new Desk();

  constructor(readonly transport: Transport) {}

  async server(options: Partial<UnixSocketServerOptions> = {}): Promise<NestServer> {
    const nest = await startNestServer(
      { controllers: [Handlers], providers: [{ provide: Desk, useValue: this.desk }] },
      { ...freeAddress(this.transport), drainTimeoutMs: 0, ...options },
    );
    // Runs until it is told to end, or nobody waits any more.
    nest.server.handle('wait', async (label: string, { signal }) => {
      this.desk.note(label);
      signal.addEventListener('abort', () => this.desk.note(`${label} stopped`));
      await this.desk.gate(label);
      return `${label} done`;
    });
    return nest;
  }

  async rawServer(): Promise<RawServer> {
    const server = await RawServer.listen(freeAddress(this.transport));
    atEnd(() => server.close());
    return server;
  }

  /** An address at which nobody listens. */
  async nowhere(): Promise<{ path: string } | { port: number }> {
    const server = await RawServer.listen(freeAddress(this.transport));
    await server.close();
    return server.address as { path: string } | { port: number };
  }

  async proxy(nest: NestServer): Promise<FaultProxy> {
    const proxy = await FaultProxy.listen({ target: nest.address });
    atEnd(() => proxy.close());
    return proxy;
  }

  /** Whose failures come soon. */
  client(options: UnixSocketClientOptions): UnixSocketClientProxy {
    return makeClient({
      ...options,
      reconnect: { initialDelayMs: 1, maxDelayMs: 10, ...options.reconnect },
    });
  }
}

interface Failure {
  /** Reads on behind "a call that". */
  readonly name: string;
  readonly code: string;
  readonly delivery: Delivery;
  readonly causeCode?: string;
  /** Whether the handler ran; undefined where there is none to ask. */
  readonly ran?: boolean;
  /** The call, on its way to failing. The handler, if any, notes "it". */
  fail(bench: Bench): Promise<unknown>;
}

const NO_RECONNECT = { reconnect: { enabled: false } };
const IDEMPOTENT = { idempotent: true };

const NOT_SENT: readonly Failure[] = [
  {
    name: 'finds no server and is not to wait for one',
    code: 'CONNECTION_REFUSED',
    delivery: 'notSent',
    fail: async (bench) => bench.client({ ...(await bench.nowhere()), ...NO_RECONNECT }).request('run', 'it'),
  },
  {
    name: 'finds no server in the attempts it is given',
    code: 'CONNECTION_REFUSED',
    delivery: 'notSent',
    fail: async (bench) =>
      bench.client({ ...(await bench.nowhere()), reconnect: { maxAttempts: 3 } }).request('run', 'it'),
  },
  {
    name: 'waits for a server until its time is over',
    code: 'REQUEST_TIMEOUT',
    causeCode: 'CONNECTION_REFUSED',
    delivery: 'notSent',
    fail: async (bench) => bench.client(await bench.nowhere()).request('run', 'it', { timeoutMs: 50 }),
  },
  {
    name: 'is made while there is no connection, and is not to wait',
    code: 'NOT_CONNECTED',
    causeCode: 'CONNECTION_REFUSED',
    delivery: 'notSent',
    async fail(bench) {
      const client = bench.client({
        ...(await bench.nowhere()),
        offline: 'fail',
        reconnect: { initialDelayMs: 60_000, maxDelayMs: 60_000 },
      });
      await expect(client.request('run', 'it')).rejects.toMatchObject({ name: 'ConnectError' });
      return client.request('run', 'it');
    },
  },
  {
    name: 'finds the queue of waiting calls full',
    code: 'OFFLINE_QUEUE_FULL',
    delivery: 'notSent',
    async fail(bench) {
      const client = bench.client({ ...(await bench.nowhere()), offline: { queue: 1 } });
      client.request('run', 'first').catch(() => undefined);
      return client.request('run', 'it');
    },
  },
  {
    name: 'waits between attempts that are given up',
    code: 'CONNECTION_REFUSED',
    delivery: 'notSent',
    async fail(bench) {
      const client = bench.client({
        ...(await bench.nowhere()),
        reconnect: { initialDelayMs: 60_000, maxDelayMs: 60_000 },
      });
      const isResting = new Promise((resolve) => client.on('reconnecting', resolve));
      const answer = client.request('run', 'it');
      await isResting;
      client.stopAutoReconnect();
      return answer;
    },
  },
  {
    name: 'is accepted by a server that never greets',
    code: 'CONNECT_TIMEOUT',
    delivery: 'notSent',
    async fail(bench) {
      const { address } = await bench.rawServer();
      return bench.client({ ...address, connectTimeoutMs: 30, ...NO_RECONNECT }).request('run', 'it');
    },
  },
  {
    name: 'is accepted by a server that leaves without a greeting',
    code: 'NOT_CONNECTED',
    causeCode: 'CONNECTION_LOST',
    delivery: 'notSent',
    async fail(bench) {
      const server = await bench.rawServer();
      const answer = bench.client({ ...server.address, ...NO_RECONNECT }).request('run', 'it');
      (await server.accept()).destroy();
      return answer;
    },
  },
  {
    name: 'is accepted by something that speaks another protocol',
    code: 'NOT_CONNECTED',
    causeCode: 'FRAME_TOO_LARGE',
    delivery: 'notSent',
    async fail(bench) {
      const server = await bench.rawServer();
      const answer = bench.client({ ...server.address, ...NO_RECONNECT }).request('run', 'it');
      await (await server.accept()).send('HTTP/1.1 400 Bad Request\r\n\r\n');
      return answer;
    },
  },
  {
    name: 'is turned away by a server with too many connections',
    code: 'REFUSED_BY_SERVER',
    delivery: 'notSent',
    ran: false,
    async fail(bench) {
      const { address } = await bench.server({ maxConnections: 1 });
      await bench.client(address).connect();
      return bench.client({ ...address, ...NO_RECONNECT }).request('run', 'it');
    },
  },
  {
    name: 'has data that cannot be encoded',
    code: 'UNENCODABLE_VALUE',
    delivery: 'notSent',
    ran: false,
    async fail(bench) {
      const { address } = await bench.server();
      return firstValueFrom(bench.client(address).send('run', { big: 1n }));
    },
  },
  {
    name: 'is larger than a frame may be',
    code: 'FRAME_TOO_LARGE',
    delivery: 'notSent',
    ran: false,
    async fail(bench) {
      const { address } = await bench.server({ maxFrameBytes: 4 * KIB });
      return bench.client(address).request('run', 'x'.repeat(8 * KIB));
    },
  },
  {
    name: 'is made while the server does not read',
    code: 'SEND_QUEUE_FULL',
    delivery: 'notSent',
    async fail(bench) {
      const { client, peer } = await connected(bench, { maxSendQueueBytes: 256 * KIB });
      peer.socket.pause();
      for (let sent = 0; sent < 8; sent++) client.request('run', 'x'.repeat(MIB)).catch(() => undefined);
      return client.request('run', 'it');
    },
  },
  {
    name: 'is aborted while it waits',
    code: 'REQUEST_ABORTED',
    delivery: 'notSent',
    async fail(bench) {
      const controller = new AbortController();
      const client = bench.client(await bench.nowhere());
      const answer = client.request('run', 'it', { signal: controller.signal });
      client.on('reconnecting', () => controller.abort());
      return answer;
    },
  },
  {
    name: 'is made after the client was closed',
    code: 'CLIENT_CLOSED',
    delivery: 'notSent',
    ran: false,
    async fail(bench) {
      const { address } = await bench.server();
      const client = bench.client(address);
      await client.close();
      return client.request('run', 'it');
    },
  },
  {
    name: 'waits when the client is closed',
    code: 'CLIENT_CLOSED',
    delivery: 'notSent',
    async fail(bench) {
      const client = bench.client(await bench.nowhere());
      const answer = client.request('run', 'it');
      await Promise.all([client.close(), rejectionOf(answer)]);
      return answer;
    },
  },
  {
    name: 'finds the server overloaded',
    code: 'OVERLOADED',
    delivery: 'notSent',
    ran: false,
    async fail(bench) {
      const { address } = await bench.server({ maxConcurrentPerConnection: 1, maxQueuedPerConnection: 0 });
      const client = bench.client(address);
      client.request('wait', 'first').catch(() => undefined);
      return client.request('run', 'it', IDEMPOTENT);
    },
  },
  {
    name: 'is refused by a server going away, more often than it may be repeated',
    code: 'DRAINING',
    delivery: 'notSent',
    async fail(bench) {
      const server = await bench.rawServer();
      const answer = bench.client({ ...server.address, maxRepeats: 2 }).request('run', 'it');
      for (let connection = 0; connection < 3; connection++) await refuseOne(server, 'DRAINING');
      return answer;
    },
  },
  {
    name: 'arrives after its deadline',
    code: 'DEADLINE_EXCEEDED',
    delivery: 'notSent',
    async fail(bench) {
      const server = await bench.rawServer();
      const answer = bench.client(server.address).request('run', 'it', { timeoutMs: 5_000 });
      await refuseOne(server, 'DEADLINE_EXCEEDED');
      return answer;
    },
  },
];

const SENT: readonly Failure[] = [
  {
    name: 'is cut off while its handler runs',
    code: 'CONNECTION_LOST',
    delivery: 'sentNoReply',
    ran: true,
    async fail(bench) {
      const proxy = await bench.proxy(await bench.server());
      const answer = bench.client(proxy.endpoint).request('wait', 'it');
      await bench.desk.until('it');
      proxy.reset();
      return answer;
    },
  },
  {
    name: 'is cut off before it arrives',
    code: 'CONNECTION_LOST',
    delivery: 'sentNoReply',
    ran: false,
    async fail(bench) {
      const proxy = await bench.proxy(await bench.server());
      const client = bench.client(proxy.endpoint);
      await client.connect();
      proxy.stall('toServer');
      const answer = client.request('run', 'it');
      proxy.reset();
      return answer;
    },
  },
  {
    name: 'is still in our own buffer when the connection is lost',
    code: 'CONNECTION_LOST',
    delivery: 'sentNoReply',
    async fail(bench) {
      const { client, peer } = await connected(bench);
      peer.socket.pause();
      client.request('run', 'x'.repeat(8 * MIB)).catch(() => undefined);
      const answer = client.request('run', 'it');
      await new Promise(setImmediate);
      peer.destroy();
      return answer;
    },
  },
  {
    name: 'is an event that is still in our own buffer when the connection is lost',
    code: 'CONNECTION_LOST',
    delivery: 'sentNoReply',
    async fail(bench) {
      const { client, peer } = await connected(bench);
      peer.socket.pause();
      client.request('run', 'x'.repeat(8 * MIB)).catch(() => undefined);
      const sent = lastValueFrom(client.emit('it', 1));
      await new Promise(setImmediate);
      peer.destroy();
      return sent;
    },
  },
  {
    name: 'runs when the server is closed, for longer than that waits',
    code: 'CONNECTION_LOST',
    delivery: 'sentNoReply',
    ran: true,
    async fail(bench) {
      const nest = await bench.server();
      const answer = bench.client({ ...nest.address, ...NO_RECONNECT }).request('wait', 'it');
      await bench.desk.until('it');
      await Promise.all([nest.app.close(), rejectionOf(answer)]);
      return answer;
    },
  },
  {
    name: 'waits for its answer until its time is over',
    code: 'REQUEST_TIMEOUT',
    delivery: 'sentNoReply',
    ran: true,
    async fail(bench) {
      const { address } = await bench.server();
      const client = bench.client({ ...address, requestTimeoutMs: 100 });
      await client.connect();
      return client.request('wait', 'it');
    },
  },
  {
    name: 'waits too long for the next value of its stream',
    code: 'REQUEST_TIMEOUT',
    delivery: 'sentNoReply',
    ran: true,
    async fail(bench) {
      const { address } = await bench.server();
      return lastValueFrom(bench.client({ ...address, idleTimeoutMs: 50 }).send('partly', 'it'));
    },
  },
  {
    name: 'is aborted while its handler runs',
    code: 'REQUEST_ABORTED',
    delivery: 'sentNoReply',
    ran: true,
    async fail(bench) {
      const { address } = await bench.server();
      const controller = new AbortController();
      const answer = bench.client(address).request('wait', 'it', { signal: controller.signal });
      await bench.desk.until('it');
      controller.abort();
      return answer;
    },
  },
  {
    name: 'runs when the client is closed',
    code: 'CLIENT_CLOSED',
    delivery: 'sentNoReply',
    ran: true,
    async fail(bench) {
      const { address } = await bench.server();
      const client = bench.client(address);
      const answer = client.request('wait', 'it');
      await bench.desk.until('it');
      await Promise.all([client.close(), rejectionOf(answer)]);
      return answer;
    },
  },
  {
    name: 'was sent to a server that has fallen silent',
    code: 'CONNECTION_LOST',
    causeCode: 'PEER_SILENT',
    delivery: 'sentNoReply',
    async fail(bench) {
      const { client } = await connected(bench, { heartbeat: { intervalMs: 20, timeoutMs: 60 } });
      return client.request('run', 'it');
    },
  },
  {
    name: 'was sent to a server that begins to talk rubbish',
    code: 'CONNECTION_LOST',
    causeCode: 'MALFORMED_FRAME',
    delivery: 'sentNoReply',
    async fail(bench) {
      const { client, peer } = await connected(bench);
      const answer = client.request('run', 'it');
      await nextRequest(peer);
      await peer.send(frame('rubbish'));
      return answer;
    },
  },
  {
    name: 'may be repeated, and is cut off more often than that',
    code: 'CONNECTION_LOST',
    delivery: 'sentNoReply',
    async fail(bench) {
      const server = await bench.rawServer();
      const answer = bench.client({ ...server.address, maxRepeats: 2 }).request('run', 'it', IDEMPOTENT);
      for (let connection = 0; connection < 3; connection++) await loseOne(server);
      return answer;
    },
  },
  {
    name: 'may be repeated, is cut off and finds no server any more',
    code: 'CONNECTION_LOST',
    causeCode: 'CONNECTION_REFUSED',
    delivery: 'sentNoReply',
    async fail(bench) {
      const server = await bench.rawServer();
      const client = bench.client({ ...server.address, reconnect: { maxAttempts: 2 } });
      const answer = client.request('run', 'it', IDEMPOTENT);
      await loseOne(server, () => server.close());
      return answer;
    },
  },
  {
    name: 'may be repeated, is cut off and is not to wait',
    code: 'CONNECTION_LOST',
    causeCode: 'NOT_CONNECTED',
    delivery: 'sentNoReply',
    async fail(bench) {
      const server = await bench.rawServer();
      const answer = bench.client({ ...server.address, offline: 'fail' }).request('run', 'it', IDEMPOTENT);
      await loseOne(server);
      return answer;
    },
  },
  {
    name: 'may be repeated, is cut off and finds the queue of waiting calls full',
    code: 'CONNECTION_LOST',
    causeCode: 'OFFLINE_QUEUE_FULL',
    delivery: 'sentNoReply',
    async fail(bench) {
      const { client, peer } = await connected(bench, { offline: { queue: 1 } });
      client.request('run', 'first', IDEMPOTENT).catch(() => undefined);
      const answer = client.request('run', 'it', IDEMPOTENT);
      await nextRequest(peer);
      peer.destroy();
      return answer;
    },
  },
  {
    name: 'may be repeated, is cut off and waits until its time is over',
    code: 'REQUEST_TIMEOUT',
    delivery: 'sentNoReply',
    async fail(bench) {
      const server = await bench.rawServer();
      const answer = bench.client(server.address).request('run', 'it', { ...IDEMPOTENT, timeoutMs: 500 });
      await loseOne(server, () => server.close());
      return answer;
    },
  },
  {
    name: 'may be repeated, is cut off and is aborted while it waits',
    code: 'REQUEST_ABORTED',
    delivery: 'sentNoReply',
    async fail(bench) {
      const server = await bench.rawServer();
      const controller = new AbortController();
      const client = bench.client(server.address);
      client.on('reconnecting', () => controller.abort());
      const answer = client.request('run', 'it', { ...IDEMPOTENT, signal: controller.signal });
      await loseOne(server);
      return answer;
    },
  },
  {
    name: 'may be repeated, is cut off and waits when the client is closed',
    code: 'CONNECTION_LOST',
    causeCode: 'CLIENT_CLOSED',
    delivery: 'sentNoReply',
    async fail(bench) {
      const server = await bench.rawServer();
      const client = bench.client(server.address);
      client.on('reconnecting', () => void client.close());
      const answer = client.request('run', 'it', IDEMPOTENT);
      await loseOne(server);
      return answer;
    },
  },
  {
    name: 'may be repeated, is cut off and then refused',
    code: 'CONNECTION_LOST',
    causeCode: 'OVERLOADED',
    delivery: 'sentNoReply',
    async fail(bench) {
      const server = await bench.rawServer();
      const answer = bench.client(server.address).request('run', 'it', IDEMPOTENT);
      await loseOne(server);
      await refuseOne(server, 'OVERLOADED');
      return answer;
    },
  },
  {
    name: 'may be repeated, is cut off and then too large for the next server',
    code: 'CONNECTION_LOST',
    causeCode: 'FRAME_TOO_LARGE',
    delivery: 'sentNoReply',
    async fail(bench) {
      const server = await bench.rawServer();
      const answer = bench.client(server.address).request('run', 'x'.repeat(8 * KIB), IDEMPOTENT);
      await loseOne(server);
      const peer = await server.accept();
      await peer.send(response('', { caps: [], max_frame_bytes: 4 * KIB }));
      return answer;
    },
  },
  {
    name: 'may be repeated, and is cut off when part of its stream has arrived',
    code: 'CONNECTION_LOST',
    delivery: 'sentNoReply',
    ran: true,
    async fail(bench) {
      const proxy = await bench.proxy(await bench.server());
      const data = new UnixSocketRecordBuilder('it').setIdempotent().build();
      const values: number[] = [];
      return new Promise((_resolve, reject) => {
        bench
          .client(proxy.endpoint)
          .send('partly', data)
          .subscribe({
            next: (value: number) => values.push(value) === 2 && proxy.reset(),
            error: reject,
          });
      });
    },
  },
];

const REPLIED: readonly Failure[] = [
  {
    name: 'has a handler that throws an RpcException',
    code: 'REMOTE_ERROR',
    delivery: 'replied',
    ran: true,
    fail: async (bench) => bench.client((await bench.server()).address).request('fail', 'it', IDEMPOTENT),
  },
  {
    name: 'has a handler that throws anything else',
    code: 'REMOTE_ERROR',
    delivery: 'replied',
    ran: true,
    fail: async (bench) => bench.client((await bench.server()).address).request('crash', 'it', IDEMPOTENT),
  },
  {
    name: 'has a stream that fails half-way',
    code: 'REMOTE_ERROR',
    delivery: 'replied',
    ran: true,
    fail: async (bench) =>
      lastValueFrom(bench.client((await bench.server()).address).send('partly-fail', 'it')),
  },
  {
    name: 'has an answer larger than a frame may be',
    code: 'FRAME_TOO_LARGE',
    delivery: 'replied',
    ran: true,
    fail: async (bench) =>
      bench.client((await bench.server({ maxFrameBytes: 4 * KIB })).address).request('huge', 'it'),
  },
  {
    name: 'nobody handles',
    code: 'UNKNOWN_PATTERN',
    delivery: 'replied',
    ran: false,
    fail: async (bench) => bench.client((await bench.server()).address).request('nothing', 'it', IDEMPOTENT),
  },
  {
    name: 'a plain server answers with an error',
    code: 'REMOTE_ERROR',
    delivery: 'replied',
    async fail(bench) {
      const server = await bench.rawServer();
      const answer = bench.client(server.address).request('run', 'it', IDEMPOTENT);
      const peer = await server.welcome({ isUpgraded: false });
      const { request_id: id } = await nextRequest(peer);
      await peer.send(response(id, null, { error: 'no' }));
      return answer;
    },
  },
];

describe.each(TRANSPORTS)('Delivery over %s', (transport) => {
  let bench: Bench;

  beforeEach(() => {
    bench = new Bench(transport);
  });

  it.each([...NOT_SENT, ...SENT, ...REPLIED])(
    'is $delivery for a call that $name',
    async ({ code, causeCode, delivery, ran, fail }) => {
      const error = (await rejectionOf(fail(bench))) as UnixSocketError & { cause?: { code: string } };
      expect(error).toMatchObject({ code: codeOver(transport, code), delivery });
      if (causeCode !== undefined) expect(error.cause?.code).toBe(codeOver(transport, causeCode));
      if (ran !== undefined) expect(bench.desk.count('it')).toBe(ran ? 1 : 0);
    },
  );

  describe('of idempotent calls', () => {
    it.each([
      ['a record', (client: UnixSocketClientProxy) => firstValueFrom(client.send('run', idempotent('it')))],
      ['request()', (client: UnixSocketClientProxy) => client.request('run', 'it', IDEMPOTENT)],
    ])('repeats them under the same id until they are answered: %s', async (_name, call) => {
      const server = await bench.rawServer();
      const client = bench.client(server.address);
      const answer = call(client);
      const ids = [];
      for (let connection = 0; connection < 4; connection++) ids.push(await loseOne(server));
      const peer = await server.welcome();
      const { request_id: id } = await nextRequest(peer);
      await peer.send(response(id, 'done'));

      expect(await answer).toBe('done');
      expect(new Set([...ids, id]).size).toBe(1);
      expect(client.getStats()).toMatchObject({ repeated: 4, reconnects: 4, pending: 0, waiting: 0 });
    });

    it('never repeats the others', async () => {
      const server = await bench.rawServer();
      const client = bench.client(server.address);
      const answer = client.request('run', 'it');
      await loseOne(server);
      await expect(answer).rejects.toMatchObject({ code: 'CONNECTION_LOST' });

      const peer = await server.welcome();
      client.request('run', 'next').catch(() => undefined);
      expect(await nextRequest(peer)).toMatchObject({ data: { data: 'next' } });
    });

    it('sends them maxRepeats times again, and no more', async () => {
      const server = await bench.rawServer();
      const answer = bench.client({ ...server.address, maxRepeats: 3 }).request('run', 'it', IDEMPOTENT);
      for (let connection = 0; connection < 4; connection++) await loseOne(server);
      await expect(answer).rejects.toMatchObject({ code: 'CONNECTION_LOST' });

      const peer = await server.welcome();
      await heard(await nextHello(peer));
      expect(peer.received.filter(({ msg_type: type }) => type === 'request')).toEqual([]);
    });

    it('repeats them in their order, before those made later', async () => {
      const { client, peer, server } = await connected(bench);
      // Answers out of order, so that whatever is kept by place is not in order either.
      for (const label of ['a', 'b', 'c', 'd']) client.request('run', label).catch(() => undefined);
      const first = [];
      for (let i = 0; i < 4; i++) first.push(await nextRequest(peer));
      for (const i of [2, 0, 3, 1])
        await peer.send(response((first[i] as { request_id: string }).request_id, 1));
      await until(() => client.getStats().pending === 0);

      const labels = ['1', '2', '3', '4', '5', '6'];
      for (const label of labels) client.request('run', label, IDEMPOTENT).catch(() => undefined);
      await nextWhere(peer, ({ data }) => (data as { data?: unknown } | null)?.data === '6');
      peer.destroy();
      await until(() => !client.isConnected());
      client.request('run', '7').catch(() => undefined);

      const next = await server.welcome();
      const seen = [];
      for (let i = 0; i < 7; i++) seen.push((await nextRequest(next)).data);
      expect(seen).toEqual([...labels, '7'].map((data) => ({ type: 'run', data })));
    });

    it('keeps to their time limit, however often they are repeated', async () => {
      const server = await bench.rawServer();
      const started = performance.now();
      const answer = bench
        .client({ ...server.address, maxRepeats: 1_000 })
        .request('run', 'it', { ...IDEMPOTENT, timeoutMs: 150 });
      let isOver = false;
      const failed = rejectionOf(answer);
      void failed.finally(() => (isOver = true));
      const losing = (async () => {
        while (!isOver) {
          const peer = await Promise.race([server.welcome(), failed]);
          if (!(peer instanceof RawPeer)) return;
          await new Promise((resolve) => setTimeout(resolve, 10));
          peer.destroy();
        }
      })();
      expect(await failed).toMatchObject({ code: 'REQUEST_TIMEOUT' });
      expect(performance.now() - started).toBeLessThan(400);
      await losing;
    });

    it('repeats streams of which nothing has arrived', async () => {
      const server = await bench.rawServer();
      const values = firstValueFrom(bench.client(server.address).send('it', idempotent(1)).pipe(toArray()));
      await loseOne(server);
      const peer = await server.welcome();
      const { request_id: id } = await nextRequest(peer);
      await peer.send(
        response(id, 'a', { more: true }),
        response(id, 'b', { more: true }),
        response(id, null, { end: true }),
      );
      expect(await values).toEqual(['a', 'b']);
    });

    it('never repeats a stream of which part has arrived', async () => {
      const server = await bench.rawServer();
      const client = bench.client(server.address);
      const values: unknown[] = [];
      const failed = new Promise((resolve) => {
        client.send('it', idempotent(1)).subscribe({ next: (value) => values.push(value), error: resolve });
      });
      const peer = await server.welcome();
      const { request_id: id } = await nextRequest(peer);
      await peer.send(response(id, 'a', { more: true }));
      await until(() => values.length === 1);
      peer.destroy();
      expect(await failed).toMatchObject({ code: 'CONNECTION_LOST', delivery: 'sentNoReply' });
      expect(values).toEqual(['a']);
      expect(client.getStats().repeated).toBe(0);
    });

    it('repeats events that were still in our own buffer', async () => {
      const { client, peer, server } = await connected(bench);
      peer.socket.pause();
      client.request('run', 'x'.repeat(8 * MIB)).catch(() => undefined);
      const sent = lastValueFrom(client.emit('it', idempotent('event')));
      await new Promise(setImmediate);
      peer.destroy();
      const next = await server.welcome();
      expect(await nextWhere(next, ({ msg_type: type }) => type === 'push')).toMatchObject({
        data: { type: 'it', data: 'event' },
      });
      await sent;
      expect(client.getStats().repeated).toBe(1);
    });

    it('answers calls over a connection that is lost again and again', async () => {
      const nest = await bench.server();
      const proxy = await bench.proxy(nest);
      const client = bench.client({ ...proxy.endpoint, maxRepeats: 1_000 });
      resetOften(proxy, 5);
      const answers = Array.from({ length: 300 }, async (_, i) => {
        await new Promise((resolve) => setTimeout(resolve, i / 2));
        return client.request('run', String(i), IDEMPOTENT);
      });
      expect(await Promise.all(answers)).toEqual(Array.from({ length: 300 }, (_, i) => `${i} done`));
    });
  });

  describe('of refused calls', () => {
    it('sends a call that a server going away refused to the next one, whatever the call does', async () => {
      const { client, peer, server } = await connected(bench);
      const answer = client.request('run', 'it');
      const { request_id: id } = await nextRequest(peer);
      await peer.send(refusal(id, 'DRAINING'));
      const next = await server.welcome();
      expect(await nextRequest(next)).toMatchObject({ request_id: id, data: { type: 'run', data: 'it' } });
      await next.send(response(id, 'done'));

      expect(await answer).toBe('done');
      expect(client.getStats()).toMatchObject({ repeated: 1, failuresByCode: {} });
      // Nothing is in flight on it any more.
      await peer.ended;
    });

    it('leaves a server that is going away once everything sent there is answered', async () => {
      const { client, peer, server } = await connected(bench);
      const before = client.request('run', 'before');
      const { request_id: id } = await nextRequest(peer);
      await peer.send(notice('GOING_AWAY'));
      const next = await server.welcome();
      const after = client.request('run', 'after');
      const { request_id: nextId } = await nextRequest(next);
      await next.send(response(nextId, 'new'));
      expect(await after).toBe('new');

      await peer.send(response(id, 'old'));
      expect(await before).toBe('old');
      await peer.ended;
      expect(client.isConnected()).toBe(true);
    });

    it('goes on counting the bytes of a connection to a server that is going away', async () => {
      const { client, peer, server } = await connected(bench);
      const answer = client.request('run', 'x'.repeat(10_000));
      const { request_id: id } = await nextRequest(peer);
      await peer.send(notice('GOING_AWAY'));
      await server.welcome();
      await client.connect();
      expect(client.getStats().bytesSent).toBeGreaterThan(10_000);
      await peer.send(response(id, 'done'));
      expect(await answer).toBe('done');
    });

    it('repeats an idempotent call that was in flight on a server going away when that one died', async () => {
      const { client, peer, server } = await connected(bench);
      const answer = client.request('run', 'it', IDEMPOTENT);
      await nextRequest(peer);
      await peer.send(notice('GOING_AWAY'));
      const next = await server.welcome();
      peer.destroy();
      const { request_id: id } = await nextRequest(next);
      await next.send(response(id, 'done'));
      expect(await answer).toBe('done');
    });

    it('never repeats a call that was refused as one too many', async () => {
      const { client, peer } = await connected(bench);
      const answer = client.request('run', 'it', IDEMPOTENT);
      const { request_id: id } = await nextRequest(peer);
      await peer.send(refusal(id, 'OVERLOADED'));
      await expect(answer).rejects.toMatchObject({ name: 'RefusedError', code: 'OVERLOADED' });
      expect(client.getStats().repeated).toBe(0);
    });

    it('takes the word of a handler for its own error, though it reads like a refusal', async () => {
      const { client, peer } = await connected(bench);
      const answer = client.request('run', 'it');
      const { request_id: id } = await nextRequest(peer);
      await peer.send(response(id, null, { error: 'no', error_detail: { code: 'DRAINING', message: 'no' } }));
      await expect(answer).rejects.toMatchObject({ name: 'RemoteError', delivery: 'replied' });
    });
  });

  describe('of duplicates', () => {
    const DEDUPLICATION = { deduplication: { enabled: true } };

    it('runs them again, unless it is told not to', async () => {
      const { address } = await bench.server();
      const peer = await connectByHand(address);
      await peer.send(request('id', 'run', 'it'), request('id', 'run', 'it'));
      await nextResponse(peer, 'id');
      await nextResponse(peer, 'id');
      expect(bench.desk.count('it')).toBe(2);
      peer.destroy();
    });

    it('lets a duplicate of a running call join it', async () => {
      const { address } = await bench.server(DEDUPLICATION);
      const peers = [await connectByHand(address), await connectByHand(address)] as const;
      await peers[0].send(request('id', 'wait', 'it'));
      await bench.desk.until('it');
      await peers[1].send(request('id', 'wait', 'it'));
      await heard(peers[1]);
      bench.desk.open('it');
      for (const peer of peers) {
        expect(await nextResponse(peer, 'id')).toMatchObject({ data: 'it done' });
        peer.destroy();
      }
      expect(bench.desk.entries).toEqual(['it']);
    });

    it('lets the duplicate of a call whose connection was lost join it', async () => {
      const { address, server } = await bench.server(DEDUPLICATION);
      const first = await connectByHand(address);
      await first.send(request('id', 'wait', 'it'));
      await bench.desk.until('it');
      first.destroy();
      await until(() => server.connectionCount === 0);
      const second = await connectByHand(address);
      await second.send(request('id', 'wait', 'it'));
      await heard(second);
      bench.desk.open('it');
      expect(await nextResponse(second, 'id')).toMatchObject({ data: 'it done' });
      expect(bench.desk.entries).toEqual(['it']);
      second.destroy();
    });

    it.each([
      ['a value', 'run', [{ data: 'it done' }]],
      ['an error', 'fail', [{ data: null, error: 'no' }]],
      [
        'a stream that failed',
        'partly-fail',
        [{ data: 1, more: true }, { data: 2, more: true }, { error: 'no' }],
      ],
    ])('gives the duplicate of a finished call the stored answer: %s', async (_name, type, answer) => {
      const { address } = await bench.server(DEDUPLICATION);
      for (let connection = 0; connection < 2; connection++) {
        const peer = await connectByHand(address);
        await peer.send(request('id', type, 'it'));
        for (const part of answer) expect(await nextResponse(peer, 'id')).toMatchObject(part);
        await peer.send(request('id', type, 'it'));
        for (const part of answer) expect(await nextResponse(peer, 'id')).toMatchObject(part);
        peer.destroy();
      }
      expect(bench.desk.entries).toEqual(['it']);
    });

    it('knows calls by their whole id', async () => {
      const { address } = await bench.server(DEDUPLICATION);
      const peer = await connectByHand(address);
      await peer.send(request('a-1', 'run', 'it'), request('b-1', 'run', 'it'), request('a-11', 'run', 'it'));
      for (const id of ['a-1', 'b-1', 'a-11']) await nextResponse(peer, id);
      expect(bench.desk.count('it')).toBe(3);
      peer.destroy();
    });

    it('leaves plain peers and events as they are', async () => {
      const { address } = await bench.server(DEDUPLICATION);
      const plain = await connectByHand(address, { isUpgraded: false });
      await plain.send(request('id', 'run', 'plain'), request('id', 'run', 'plain'));
      await nextResponse(plain, 'id');
      await nextResponse(plain, 'id');
      const upgraded = await connectByHand(address);
      await upgraded.send(event('id', 'run', 'event'), event('id', 'run', 'event'));
      await heard(upgraded);
      expect(bench.desk.entries).toEqual(['plain', 'plain', 'event', 'event']);
      plain.destroy();
      upgraded.destroy();
    });

    it('keeps answers for windowMs', async () => {
      const { address } = await bench.server({ deduplication: { enabled: true, windowMs: 60 } });
      const peer = await connectByHand(address);
      for (let times = 0; times < 2; times++) {
        await peer.send(request('id', 'run', 'it'));
        await nextResponse(peer, 'id');
      }
      expect(bench.desk.count('it')).toBe(1);
      await new Promise((resolve) => setTimeout(resolve, 100));
      await peer.send(request('id', 'run', 'it'));
      await nextResponse(peer, 'id');
      expect(bench.desk.count('it')).toBe(2);
      peer.destroy();
    });

    it('keeps maxEntries answers, the latest', async () => {
      const { address } = await bench.server({ deduplication: { enabled: true, maxEntries: 2 } });
      const peer = await connectByHand(address);
      for (const id of ['a', 'b', 'c', 'c', 'b', 'a']) {
        await peer.send(request(id, 'run', id));
        await nextResponse(peer, id);
      }
      expect(bench.desk.entries).toEqual(['a', 'b', 'c', 'a']);
      peer.destroy();
    });

    it('keeps maxBytes of answers, the latest', async () => {
      const { address } = await bench.server({ deduplication: { enabled: true, maxBytes: 250 * KIB } });
      const peer = await connectByHand(address);
      for (const id of ['a', 'b', 'c', 'd', 'd', 'c', 'b', 'a']) {
        await peer.send(request(id, 'huge', id));
        await nextResponse(peer, id);
      }
      expect(bench.desk.entries).toEqual(['a', 'b', 'c', 'd', 'a']);
      peer.destroy();
    });

    it('runs nothing twice whose answer is too large to be kept, and says so', async () => {
      const { address, server } = await bench.server(DEDUPLICATION);
      server.handle('large', (label: string) => {
        bench.desk.note(label);
        return 'x'.repeat(2 * MIB);
      });
      const peer = await connectByHand(address);
      await peer.send(request('id', 'large', 'it'));
      expect(await nextResponse(peer, 'id')).toMatchObject({ error: null });
      await peer.send(request('id', 'large', 'it'));
      expect(await nextResponse(peer, 'id')).toMatchObject({ error_detail: { code: 'ANSWER_NOT_KEPT' } });
      expect(bench.desk.entries).toEqual(['it']);
      peer.destroy();
    });

    it('runs a call that was refused before', async () => {
      const { address } = await bench.server({
        ...DEDUPLICATION,
        maxConcurrentPerConnection: 1,
        maxQueuedPerConnection: 0,
      });
      const peer = await connectByHand(address);
      await peer.send(request('first', 'wait', 'first'), request('id', 'run', 'it'));
      expect(await nextResponse(peer, 'id')).toMatchObject({ error_detail: { refused: true } });
      bench.desk.open('first');
      await nextResponse(peer, 'first');
      await peer.send(request('id', 'run', 'it'));
      expect(await nextResponse(peer, 'id')).toMatchObject({ data: 'it done' });
      peer.destroy();
    });

    it('runs a call that was cancelled before', async () => {
      const { address } = await bench.server(DEDUPLICATION);
      const peer = await connectByHand(address);
      await peer.send(request('id', 'wait', 'it'), cancel('id'), request('id', 'run', 'again'));
      expect(await nextResponse(peer, 'id')).toMatchObject({ data: 'again done' });
      peer.destroy();
    });

    it('stops a handler for which nobody comes back within windowMs', async () => {
      const { address } = await bench.server({ deduplication: { enabled: true, windowMs: 60 } });
      const peer = await connectByHand(address);
      await peer.send(request('id', 'wait', 'it'));
      await bench.desk.until('it');
      const lostAt = performance.now();
      peer.destroy();
      await bench.desk.until('it stopped');
      expect(performance.now() - lostAt).toBeGreaterThan(50);
    });

    it.each([
      ['cancels it', (peer: RawPeer) => peer.send(cancel('id'))],
      ['leaves', (peer: RawPeer) => Promise.resolve(peer.destroy())],
    ])('stops a handler when the one that joined its call %s', async (_name, stop) => {
      const { address, server } = await bench.server({ deduplication: { enabled: true, windowMs: 60 } });
      const first = await connectByHand(address);
      await first.send(request('id', 'wait', 'it'));
      await bench.desk.until('it');
      first.destroy();
      await until(() => server.connectionCount === 0);
      const second = await connectByHand(address);
      await second.send(request('id', 'wait', 'it'));
      await heard(second);
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(bench.desk.entries).toEqual(['it']);
      await stop(second);
      await bench.desk.until('it stopped');
      second.destroy();
    });

    it.each([
      ['first', 0, 1],
      ['other', 1, 0],
    ])('goes on with a call that two wait for when the %s leaves', async (_name, leaving, staying) => {
      const { address, server } = await bench.server({ deduplication: { enabled: true, windowMs: 20 } });
      const peers = [await connectByHand(address), await connectByHand(address)];
      for (const peer of peers) {
        await peer.send(request('id', 'wait', 'it'));
        await heard(peer);
      }
      peers[leaving]?.destroy();
      await until(() => server.connectionCount === 1);
      await new Promise((resolve) => setTimeout(resolve, 50));
      bench.desk.open('it');
      expect(await nextResponse(peers[staying] as RawPeer, 'id')).toMatchObject({ data: 'it done' });
      expect(bench.desk.entries).toEqual(['it']);
      peers[staying]?.destroy();
    });

    it('stops what still runs when the server is closed, joined or not', async () => {
      const { address, server, app } = await bench.server(DEDUPLICATION);
      for (const label of ['joined', 'lost']) {
        const first = await connectByHand(address);
        await first.send(request(label, 'wait', label));
        await bench.desk.until(label);
        first.destroy();
      }
      await until(() => server.connectionCount === 0);
      const second = await connectByHand(address);
      await second.send(request('joined', 'wait', 'joined'));
      await heard(second);
      await app.close();
      await bench.desk.until('joined stopped');
      await bench.desk.until('lost stopped');
      expect(await server.close()).toMatchObject({ cancelled: 2 });
      second.destroy();
    });

    it('runs each call once over a connection that is lost again and again', async () => {
      const nest = await bench.server(DEDUPLICATION);
      nest.server.handle('slow', async (label: string) => {
        bench.desk.note(label);
        await new Promise((resolve) => setTimeout(resolve, 10));
        return `${label} done`;
      });
      const proxy = await bench.proxy(nest);
      const client = bench.client({ ...proxy.endpoint, maxRepeats: 1_000 });
      const labels = Array.from({ length: 300 }, (_, i) => String(i));
      resetOften(proxy, 25);
      const answers = labels.map(async (label, i) => {
        await new Promise((resolve) => setTimeout(resolve, i));
        return client.request('slow', label, IDEMPOTENT);
      });
      expect(await Promise.all(answers)).toEqual(labels.map((label) => `${label} done`));
      expect(client.getStats().repeated).toBeGreaterThan(0);
      expect(bench.desk.entries.toSorted()).toEqual(labels.toSorted());
    });
  });
});

/** Cuts all connections every so often, and stops at last: a busy machine may need longer than that for an answer. */
function resetOften(proxy: FaultProxy, everyMs: number): void {
  let resets = 0;
  const timer = setInterval(() => {
    proxy.reset();
    if (++resets === 60) clearInterval(timer);
  }, everyMs);
  atEnd(() => clearInterval(timer));
}

/** What finds no server is told differently for a path and for a port. */
function codeOver(transport: Transport, code: string): string {
  return transport === 'unix' && code === 'CONNECTION_REFUSED' ? 'SOCKET_NOT_FOUND' : code;
}

function idempotent(data: unknown): unknown {
  return new UnixSocketRecordBuilder(data).setIdempotent().build();
}

/** A client that a server made by hand has greeted. */
async function connected(
  bench: Bench,
  options: Partial<UnixSocketClientOptions> = {},
): Promise<{ client: UnixSocketClientProxy; peer: RawPeer; server: RawServer }> {
  const server = await bench.rawServer();
  const client = bench.client({ ...server.address, ...options });
  const ready = client.connect();
  const peer = await server.welcome();
  await ready;
  // One that does not read would hold up the client's close.
  atEnd(() => peer.destroy());
  return { client, peer, server };
}

/** Reads one request on the next connection and cuts it off. Returns the request's id. */
async function loseOne(server: RawServer, before: () => unknown = () => undefined): Promise<string> {
  const peer = await server.welcome();
  const { request_id: id } = await nextRequest(peer);
  await before();
  peer.destroy();
  return id;
}

/** Refuses one request on the next connection. */
async function refuseOne(server: RawServer, code: string): Promise<void> {
  const peer = await server.welcome();
  const { request_id: id } = await nextRequest(peer);
  await peer.send(refusal(id, code));
}

async function nextHello(peer: RawPeer): Promise<RawPeer> {
  await nextWhere(peer, ({ hello }) => hello !== undefined);
  return peer;
}

/** Resolves once it holds, which nothing tells; or the test's own time limit ends the wait. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 1));
}
