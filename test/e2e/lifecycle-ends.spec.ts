import { existsSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { Controller, type INestMicroservice } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import {
  Signal,
  SocketServer,
  UnixSocketServer,
  type UnixSocketClientOptions,
  type UnixSocketClientProxy,
  type UnixSocketServerOptions,
} from 'nestjs-unix-socket';
import { interval, lastValueFrom, type Observable } from 'rxjs';
import { atEnd } from '../support/at-end.js';
import { ChildProgram } from '../support/child-process.js';
import type * as ledgerProgram from '../support/children/ledger.js';
import type * as serviceProgram from '../support/children/nest-service.js';
import type * as throwerProgram from '../support/children/thrower.js';
import { RawPeer, type Address, type WireMessage } from '../support/frames.js';
import { Logbook } from '../support/logbook.js';
import {
  freeAddress,
  makeClient,
  startNestServer,
  TRANSPORTS,
  type NestServer,
} from '../support/nest-server.js';
import { rejectionOf } from '../support/rejection.js';
import { tempDir, tempSocketPath } from '../support/temp-paths.js';
import { thoroughly } from '../support/thoroughly.js';
import {
  connectByHand,
  event,
  heard,
  hello,
  nextRequest,
  nextResponse,
  nextWhere,
  notice,
  RawServer,
  request,
  response,
} from '../support/wire.js';

const MIB = 1024 * 1024;

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

  @MessagePattern('wait')
  async wait(@Payload() label: string, @Signal() signal: AbortSignal): Promise<string> {
    this.desk.note(label);
    signal.addEventListener('abort', () => this.desk.note(`${label} stopped`));
    await this.desk.gate(label);
    return `${label} done`;
  }

  @EventPattern<string>('event')
  async onEvent(@Payload() label: string, @Signal() signal: AbortSignal): Promise<void> {
    this.desk.note(label);
    signal.addEventListener('abort', () => this.desk.note(`${label} stopped`));
    if (label.startsWith('slow')) await this.desk.gate(label);
    this.desk.note(`${label} done`);
  }

  @MessagePattern('ticks')
  ticks(): Observable<number> {
    return interval(2);
  }
}

describe.each(TRANSPORTS)('The end of a server over %s', (transport) => {
  let desk: Desk;

  beforeEach(() => {
    desk = new Desk();
  });

  async function start(options: Partial<UnixSocketServerOptions> = {}): Promise<NestServer> {
    return startNestServer(
      { controllers: [Handlers], providers: [{ provide: Desk, useValue: desk }] },
      { ...freeAddress(transport), ...options },
    );
  }

  function clientOf(address: Address, options: Partial<UnixSocketClientOptions> = {}): UnixSocketClientProxy {
    return makeClient({ ...address, reconnect: { initialDelayMs: 2, maxDelayMs: 10 }, ...options });
  }

  it('gives up its address first: a successor takes it while the old one finishes', async () => {
    const old = await start();
    const client = clientOf(old.address);
    const before = client.request('wait', 'old');
    await desk.until('old');
    const isTold = new Promise((resolve) => client.on('disconnect', resolve));
    const closing = old.server.close();
    await until(() => isGivenUp(old));
    expect(await isTold).toMatchObject({ code: 'GOING_AWAY' });
    const next = await start({ ...old.address, accountId: 'next' });
    expect(await client.request('run', 'new')).toBe('new done');
    expect(next.server.connectionCount).toBe(1);
    expect(old.server.getStats()).toMatchObject({ inFlight: 1, activeConnections: 1 });

    desk.open('old');
    expect(await before).toBe('old done');
    expect(await closing).toEqual({ cancelled: 0, unanswered: 0, unfinishedConnections: 0 });
    if ('path' in old.address) expect(existsSync(old.address.path)).toBe(true);
    expect(await client.request('run', 'still')).toBe('still done');
  });

  it('accepts nobody any more', async () => {
    const { server, address } = await start();
    const peer = await connectByHand(address);
    await peer.send(request('it', 'wait', 'it'));
    await desk.until('it');
    const closing = server.close();
    await nextWhere(peer, isGoingAway);
    await expect(RawPeer.connect(address)).rejects.toMatchObject({
      code: transport === 'unix' ? 'ENOENT' : 'ECONNREFUSED',
    });
    peer.destroy();
    await closing;
  });

  it('tells whoever had connected before, and was not accepted yet, to come again', async () => {
    const { server, address } = await start();
    const refusals: string[] = [];
    server.on('refused', (reason) => refusals.push(reason));
    const to = 'path' in address ? { path: address.path } : { port: address.port, host: '127.0.0.1' };
    const peer = new RawPeer(connect(to));
    // When it is on its way.
    await new Promise(process.nextTick);
    const closing = server.close();
    expect(await peer.next()).toMatchObject({ msg_type: 'error', error_detail: { code: 'DRAINING' } });
    await closing;
    await peer.closed;
    expect(server.connectionCount).toBe(0);
    expect(refusals).toEqual(['the server is shutting down']);
  });

  it('tells upgraded peers that it is going away, and plain ones nothing', async () => {
    const { server, address } = await start({ drainTimeoutMs: 60 });
    const upgraded = await connectByHand(address);
    const plain = await connectByHand(address, { isUpgraded: false });
    await plain.send(request('it', 'wait', 'it'));
    await desk.until('it');
    const closing = server.close();
    expect(await nextWhere(upgraded, isGoingAway)).toMatchObject({ error: expect.any(String), data: null });
    await Promise.all([closing, upgraded.ended, plain.ended]);
    upgraded.destroy();
    expect(plain.received.filter(({ msg_type: type }) => type === 'error')).toEqual([]);
    plain.destroy();
  });

  it('finishes what runs, and refuses what comes or waits', async () => {
    const { server, address } = await start({ maxConcurrentPerConnection: 2 });
    const peer = await connectByHand(address);
    await peer.send(
      request('a', 'wait', 'a'),
      request('b', 'wait', 'b'),
      request('c', 'run', 'c'),
      event('', 'event', 'event'),
    );
    await heard(peer);
    const closing = server.close();
    await nextWhere(peer, isGoingAway);
    await peer.send(request('d', 'run', 'd'));
    const isRefused = { error_detail: { code: 'DRAINING', refused: true } };
    expect(await nextResponse(peer, 'c')).toMatchObject(isRefused);
    expect(await nextResponse(peer, 'd')).toMatchObject(isRefused);
    desk.open('a');
    expect(await nextResponse(peer, 'a')).toMatchObject({ data: 'a done' });
    desk.open('b');
    expect(await nextResponse(peer, 'b')).toMatchObject({ data: 'b done' });
    // Of an event nobody hears that it was refused.
    await desk.until('event done');
    peer.end();
    expect(await closing).toEqual({ cancelled: 0, unanswered: 0, unfinishedConnections: 0 });
    expect(desk.entries).toEqual(['a', 'b', 'event', 'event done']);
  });

  it('gives plain peers all their answers, those in the queue too, then ends them', async () => {
    const { server, address } = await start({ maxConcurrentPerConnection: 1 });
    const peer = await connectByHand(address, { isUpgraded: false });
    const idle = await connectByHand(address, { isUpgraded: false });
    await idle.send(request('x', 'run', 'x'));
    await nextResponse(idle, 'x');
    await peer.send(request('a', 'wait', 'a'), request('b', 'run', 'b'));
    await desk.until('a');
    const closing = server.close();
    await idle.ended;
    idle.end();
    desk.open('a');
    expect(await nextResponse(peer, 'a')).toMatchObject({ data: 'a done' });
    expect(await nextResponse(peer, 'b')).toMatchObject({ data: 'b done' });
    await peer.ended;
    peer.end();
    expect(await closing).toEqual({ cancelled: 0, unanswered: 0, unfinishedConnections: 0 });
  });

  it('cancels what is not done within drainTimeoutMs, ends every socket and says how many', async () => {
    const { server, address } = await start({ drainTimeoutMs: 60 });
    const upgraded = await connectByHand(address);
    await upgraded.send(request('a', 'wait', 'a'), request('b', 'wait', 'b'));
    const plain = await connectByHand(address, { isUpgraded: false });
    await plain.send(request('c', 'wait', 'c'));
    for (const label of ['a', 'b', 'c']) await desk.until(label);

    const startedAt = performance.now();
    expect(await server.close()).toEqual({ cancelled: 3, unanswered: 0, unfinishedConnections: 2 });
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(55);
    for (const label of ['a', 'b', 'c']) expect(desk.count(`${label} stopped`)).toBe(1);
    expect(server.connectionCount).toBe(0);
    // These never end their own side.
    await Promise.all([upgraded.ended, plain.ended]);
    upgraded.destroy();
    plain.destroy();
  });

  it('waits for its clients to leave no longer than drainTimeoutMs, though nothing runs', async () => {
    const { server, address } = await start({ drainTimeoutMs: 40 });
    const peer = await connectByHand(address);
    expect(await server.close()).toEqual({ cancelled: 0, unanswered: 0, unfinishedConnections: 1 });
    await peer.ended;
    peer.destroy();
  });

  it('ends a connection that has never said anything', async () => {
    const { server, address } = await start();
    const peer = await RawPeer.connect(address, { allowHalfOpen: false });
    await peer.next();
    expect(await server.close()).toEqual({ cancelled: 0, unanswered: 0, unfinishedConnections: 0 });
    await peer.closed;
  });

  it('lets one that says hello only now leave by itself', async () => {
    const { server, address } = await start();
    const peer = await RawPeer.connect(address);
    await peer.next();
    const closing = server.close();
    await nextWhere(peer, isGoingAway);
    await peer.send(hello(), request('it', 'run', 'it'));
    expect(await nextResponse(peer, 'it')).toMatchObject({ error_detail: { code: 'DRAINING' } });
    peer.end();
    expect(await closing).toEqual({ cancelled: 0, unanswered: 0, unfinishedConnections: 0 });
    expect(desk.entries).toEqual([]);
  });

  it('comes once, however often it is asked for', async () => {
    const { server, address, app } = await start({ drainTimeoutMs: 30 });
    const peer = await connectByHand(address);
    await peer.send(request('it', 'wait', 'it'));
    await desk.until('it');
    let closes = 0;
    server.on('close', () => closes++);
    const reports = await Promise.all([
      server.close(),
      server.close(),
      app.close().then(() => server.close()),
    ]);
    expect(new Set(reports).size).toBe(1);
    expect(reports[0]).toEqual({ cancelled: 1, unanswered: 0, unfinishedConnections: 1 });
    expect(await server.close()).toBe(reports[0]);
    expect(closes).toBe(1);
    peer.destroy();
  });

  it('comes once for a server without Nest, too', async () => {
    const server = new SocketServer({ ...freeAddress(transport), drainTimeoutMs: 30 });
    server.handle('wait', () => new Promise(() => undefined));
    await server.listen();
    const peer = await connectByHand(server.endpoint as Address);
    await peer.send(request('it', 'wait', 'it'));
    await heard(peer);
    const reports = await Promise.all([server.close(), server.close()]);
    expect(reports[0]).toEqual({ cancelled: 1, unanswered: 0, unfinishedConnections: 1 });
    expect(reports[1]).toBe(reports[0]);
    expect(await server.close()).toBe(reports[0]);
    peer.destroy();
  });

  it('comes for a server that never listened', async () => {
    const server = new UnixSocketServer(freeAddress(transport));
    expect(await server.close()).toEqual({ cancelled: 0, unanswered: 0, unfinishedConnections: 0 });
  });

  it('comes for a server that was just about to listen', async () => {
    const address = freeAddress(transport);
    const server = new UnixSocketServer(address);
    const listening = new Promise((resolve) => server.listen(resolve));
    await server.close();
    await listening;
    expect(server.unwrap().listening).toBe(false);
    if ('path' in address) expect(existsSync(address.path)).toBe(false);
  });

  it('does not come before events of clients that have left, queued ones too, are done', async () => {
    const { server, address } = await start({ maxConcurrentPerConnection: 1 });
    const client = clientOf(address);
    const sent = ['slow', 'second', 'third'].map((label) => lastValueFrom(client.emit('event', label)));
    await Promise.all(sent);
    await desk.until('slow');
    await client.close();
    await until(() => server.connectionCount === 0);
    expect(server.getStats()).toMatchObject({ inFlight: 1, queued: 2 });
    const closing = server.close();
    await new Promise((resolve) => setTimeout(resolve, 20));
    desk.open('slow');
    expect(await closing).toEqual({ cancelled: 0, unanswered: 0, unfinishedConnections: 0 });
    expect(desk.entries).toEqual(['slow', 'slow done', 'second', 'second done', 'third', 'third done']);
  });

  it('stops events of clients that have left after drainTimeoutMs', async () => {
    const { server, address } = await start({ drainTimeoutMs: 40 });
    const peer = await connectByHand(address);
    await peer.send(event('', 'event', 'slow'));
    await desk.until('slow');
    peer.destroy();
    expect(await server.close()).toEqual({ cancelled: 1, unanswered: 0, unfinishedConnections: 0 });
    expect(desk.entries).toEqual(['slow', 'slow stopped']);
  });

  it('counts clients that have left events behind as connections', async () => {
    const { server, address } = await start({ maxConnections: 1 });
    const peer = await connectByHand(address);
    await peer.send(event('', 'event', 'slow'));
    await desk.until('slow');
    peer.destroy();
    await until(() => server.connectionCount === 0);
    const second = await RawPeer.connect(address);
    expect(await second.next()).toMatchObject({ error_detail: { code: 'TOO_MANY_CONNECTIONS' } });
    second.destroy();

    desk.open('slow');
    await desk.until('slow done');
    const third = await connectByHand(address);
    third.destroy();
  });

  it('moves a client with calls in flight to a successor, without a failed call', async () => {
    const old = await start();
    const client = clientOf(old.address);
    const before = [client.request('wait', 'a'), client.request('wait', 'b')];
    await desk.until('b');
    const disconnects: string[] = [];
    client.on('disconnect', ({ code }) => disconnects.push(code));
    const closing = old.server.close();
    await until(() => disconnects.length === 1);
    // There is no server at this time.
    const after = [client.request('run', 'c'), client.request('run', 'd')];
    const next = await start(old.address);
    expect(await Promise.all(after)).toEqual(['c done', 'd done']);
    desk.open('a');
    desk.open('b');
    expect(await Promise.all(before)).toEqual(['a done', 'b done']);
    expect(await closing).toMatchObject({ cancelled: 0 });
    expect(disconnects).toEqual(['GOING_AWAY']);
    expect(client.getStats()).toMatchObject({ failuresByCode: {}, reconnects: 1 });
    await next.server.close();
  });

  it('costs not one call when a server is restarted again and again under load', async () => {
    let current = await start({ drainTimeoutMs: 5_000 });
    const { address } = current;
    const clients = Array.from({ length: 4 }, () => clientOf(address));
    let isOver = false;
    // Before the clients are closed, also when something is wrong.
    atEnd(() => (isOver = true));
    const outcomes: unknown[] = [];
    const callers = clients.flatMap((client, c) =>
      Array.from({ length: 8 }, async (_, i) => {
        for (let n = 0; !isOver; n++) {
          const label = `${c}-${i}-${n}`;
          // Not one of them may be repeated once it may have run.
          const outcome = await client.request('run', label).catch((error: unknown) => error);
          if (outcome !== `${label} done`) outcomes.push(outcome);
          if (n % 50 === 0) await new Promise(setImmediate);
        }
      }),
    );
    for (let restart = 0; restart < 10; restart++) {
      await new Promise((resolve) => setTimeout(resolve, 15));
      const closing = current.server.close();
      if (restart % 2 === 0) await closing;
      else await until(() => isGivenUp(current));
      current = await start({ ...address, drainTimeoutMs: 5_000 });
    }
    await until(() => clients.every((client) => client.isConnected()));
    isOver = true;
    await Promise.all(callers);
    expect(outcomes).toEqual([]);
    const runs = desk.entries.length;
    expect(new Set(desk.entries).size).toBe(runs);
    for (const client of clients) expect(client.getStats().reconnects).toBeGreaterThan(0);
  });
});

describe.each(TRANSPORTS)('The end of a client over %s', (transport) => {
  let desk: Desk;
  let nest: NestServer;

  beforeEach(async () => {
    desk = new Desk();
    nest = await startNestServer(
      { controllers: [Handlers], providers: [{ provide: Desk, useValue: desk }] },
      { ...freeAddress(transport), drainTimeoutMs: 0 },
    );
  });

  it('waits for the answers of calls in flight, and takes no more', async () => {
    const client = makeClient({ ...nest.address, drainTimeoutMs: 5_000 });
    const statuses: string[] = [];
    client.status.subscribe((status) => statuses.push(status));
    const answers = [client.request('wait', 'a'), client.request('wait', 'b')];
    await desk.until('b');
    const closing = client.close();
    expect(await rejectionOf(client.request('run', 'c'))).toMatchObject({
      code: 'CLIENT_CLOSED',
      delivery: 'notSent',
    });
    expect(await rejectionOf(client.connect())).toMatchObject({ code: 'CLIENT_CLOSED' });
    desk.open('a');
    expect(await answers[0]).toBe('a done');
    expect(nest.server.connectionCount).toBe(1);
    desk.open('b');
    expect(await answers[1]).toBe('b done');
    expect(await closing).toEqual({ unanswered: 0, notSent: 0, cancelled: 0 });
    expect(statuses.slice(-3)).toEqual(['connected', 'draining', 'disconnected']);
    expect(desk.entries).toEqual(['a', 'b']);
    await until(() => nest.server.connectionCount === 0);
  });

  it('fails what is not answered within drainTimeoutMs, tells the server, and says how many', async () => {
    const client = makeClient({ ...nest.address, drainTimeoutMs: 40 });
    const failures = ['a', 'b'].map((label) => rejectionOf(client.request('wait', label)));
    const stream = rejectionOf(lastValueFrom(client.send('ticks', 1)));
    await desk.until('b');
    const startedAt = performance.now();
    expect(await client.close()).toEqual({ unanswered: 3, notSent: 0, cancelled: 0 });
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(35);
    for (const failure of [...failures, stream])
      expect(await failure).toMatchObject({ code: 'CLIENT_CLOSED', delivery: 'sentNoReply' });
    await desk.until('a stopped');
    await desk.until('b stopped');
  });

  it('fails what waits for a connection at once, and says how many', async () => {
    const client = makeClient({ ...freeAddressOf(nest), drainTimeoutMs: 5_000 });
    const failures = [
      client.request('run', 'a'),
      lastValueFrom(client.send('run', 'b')),
      lastValueFrom(client.emit('event', 'c')),
    ].map((call) => rejectionOf(call));
    expect(await client.close()).toEqual({ unanswered: 0, notSent: 3, cancelled: 0 });
    for (const failure of failures)
      expect(await failure).toMatchObject({ code: 'CLIENT_CLOSED', delivery: 'notSent' });
  });

  it('counts calls that were lost with their connection meanwhile', async () => {
    const server = await RawServer.listen(freeAddress(transport));
    atEnd(() => server.close());
    const client = makeClient({ ...server.address, drainTimeoutMs: 5_000 });
    const answers = [client.request('run', 'a'), client.request('run', 'b'), client.request('run', 'c')];
    const peer = await server.welcome();
    const { request_id: id } = await nextRequest(peer);
    const closing = client.close();
    await peer.send(response(id, 'done'));
    expect(await answers[0]).toBe('done');
    peer.destroy();
    for (const answer of answers.slice(1))
      expect(await rejectionOf(answer)).toMatchObject({ code: 'CONNECTION_LOST', delivery: 'sentNoReply' });
    expect(await closing).toEqual({ unanswered: 2, notSent: 0, cancelled: 0 });
  });

  it('sends the events that were emitted before, all of them', async () => {
    const client = makeClient({ ...nest.address, drainTimeoutMs: 5_000 });
    await client.connect();
    const labels = Array.from({ length: 500 }, (_, i) => `${i}`);
    for (const label of labels) client.emit('event', label);
    expect(await client.close()).toEqual({ unanswered: 0, notSent: 0, cancelled: 0 });
    for (const label of labels) await desk.until(`${label} done`);
  });

  it('flushes what is larger than the kernel takes at once', async () => {
    const client = makeClient({ ...nest.address, drainTimeoutMs: 5_000 });
    await client.connect();
    const label = 'x'.repeat(8 * MIB);
    client.emit('event', label);
    expect(await client.close()).toEqual({ unanswered: 0, notSent: 0, cancelled: 0 });
    await desk.until(`${label} done`);
  });

  it('comes once, however often it is asked for', async () => {
    const client = makeClient({ ...nest.address, drainTimeoutMs: 20 });
    const failure = rejectionOf(client.request('wait', 'it'));
    await desk.until('it');
    const reports = await Promise.all([client.close(), client.close()]);
    expect(reports[0]).toEqual({ unanswered: 1, notSent: 0, cancelled: 0 });
    expect(reports[1]).toBe(reports[0]);
    expect(await client.close()).toBe(reports[0]);
    await failure;
  });

  it('may be asked for by whoever hears of it', async () => {
    const client = makeClient({ ...freeAddressOf(nest), drainTimeoutMs: 20 });
    const inner: Promise<unknown>[] = [];
    const late: Promise<unknown>[] = [];
    client.status.subscribe((status) => {
      if (status !== 'draining') return;
      inner.push(client.close());
      late.push(rejectionOf(client.request('run', 'late')));
    });
    const failed = new Promise<void>((resolve) => {
      client.send('run', 'it').subscribe({
        error: () => {
          inner.push(client.close());
          late.push(rejectionOf(client.request('run', 'later')));
          resolve();
        },
      });
    });
    const report = await client.close();
    await failed;
    expect(report).toEqual({ unanswered: 0, notSent: 1, cancelled: 0 });
    expect(await Promise.all(inner)).toEqual([report, report]);
    for (const failure of late)
      expect(await failure).toMatchObject({ code: 'CLIENT_CLOSED', delivery: 'notSent' });
  });

  it('comes for a client that never connected, is connecting, or cannot', async () => {
    const never = makeClient(nest.address);
    expect(await never.close()).toEqual({ unanswered: 0, notSent: 0, cancelled: 0 });
    const silent = await RawServer.listen(freeAddress(transport));
    atEnd(() => silent.close());
    for (const address of [nest.address, silent.address, freeAddressOf(nest)]) {
      const client = makeClient(address);
      const failure = rejectionOf(client.connect());
      expect(await client.close()).toEqual({ unanswered: 0, notSent: 0, cancelled: 0 });
      expect(await failure).toMatchObject({ code: 'CLIENT_CLOSED' });
    }
    await until(() => nest.server.connectionCount === 0);
  });

  it('waits for the answers from a server that is going away too', async () => {
    const server = await RawServer.listen(freeAddress(transport));
    atEnd(() => server.close());
    const client = makeClient({ ...server.address, drainTimeoutMs: 5_000 });
    const answers = [client.request('run', 'old')];
    const old = await server.welcome();
    const first = await nextRequest(old);
    await old.send(notice('GOING_AWAY'));
    const next = await server.welcome();
    answers.push(client.request('run', 'new'));
    const second = await nextRequest(next);
    const closing = client.close();
    await next.send(response(second.request_id, 'b'));
    await old.send(response(first.request_id, 'a'));
    expect(await Promise.all(answers)).toEqual(['a', 'b']);
    expect(await closing).toEqual({ unanswered: 0, notSent: 0, cancelled: 0 });
    await Promise.all([old.closed, next.closed]);
  });
});

describe('The end of an application', () => {
  async function startService(
    options: Partial<UnixSocketServerOptions> = {},
  ): Promise<{ service: ChildProgram<typeof serviceProgram.commands>; path: string }> {
    const path = tempSocketPath();
    const service = await ChildProgram.start<typeof serviceProgram.commands>('nest-service', {
      options: { path, ...options },
      // The Nest of this run of the tests.
      env: { NEST_FROM: dirname(dirname(require.resolve('@nestjs/core/package.json'))) },
    });
    atEnd(() => service.kill());
    await service.command('listen');
    return { service, path };
  }

  it('comes in good order on SIGTERM, with shutdown hooks', async () => {
    const { service, path } = await startService();
    const client = makeClient({ path });
    const answer = client.request('work', { ms: 150 });
    await service.waitFor('started');
    const isTold = new Promise((resolve) => client.on('disconnect', resolve));
    process.kill(service.pid, 'SIGTERM');
    expect(await isTold).toMatchObject({ code: 'GOING_AWAY' });
    expect(existsSync(path)).toBe(false);
    const waiting = client.request('work', { ms: 0 });
    expect(await answer).toBe('done');
    await service.ended;
    expect(service.events.map(({ event: name }) => name)).toEqual(['ready', 'started', 'close']);
    expect(existsSync(path)).toBe(false);

    const failure = rejectionOf(waiting);
    await client.close();
    expect(await failure).toMatchObject({ code: 'CLIENT_CLOSED', delivery: 'notSent' });
  });

  it('stops what is not done in time', async () => {
    const { service, path } = await startService({ drainTimeoutMs: 60 });
    const client = makeClient({ path, reconnect: { enabled: false } });
    const failures = [client.request('work', { ms: 60_000 }), lastValueFrom(client.send('ticks', {}))].map(
      (call) => rejectionOf(call),
    );
    await service.waitFor('started');
    process.kill(service.pid, 'SIGTERM');
    for (const failure of failures)
      expect(await failure).toMatchObject({ code: 'CONNECTION_LOST', delivery: 'sentNoReply' });
    await service.waitFor('stopped');
    await service.waitFor('unsubscribed');
    await service.waitFor('close');
    expect(service.events.find(({ event: name }) => name === 'stopped')).toMatchObject({
      code: 'SERVER_CLOSED',
    });
    await service.kill();
  });

  it('ends in time when several close at once', async () => {
    const apps: INestMicroservice[] = [];
    const clients: UnixSocketClientProxy[] = [];
    for (let i = 0; i < 5; i++) {
      const { app, address } = await startNestServer({}, freeAddress('unix'));
      apps.push(app);
      const client = makeClient(address);
      await client.connect();
      clients.push(client);
    }
    const startedAt = performance.now();
    await Promise.all(apps.map((app) => app.close()));
    await Promise.all(clients.map((client) => client.close()));
    expect(performance.now() - startedAt).toBeLessThan(1_000);
  });
});

describe('Listeners that throw', () => {
  it('get an uncaught exception, and neither calls nor ends are any the worse', async () => {
    const program = await ChildProgram.start<typeof throwerProgram.commands>('thrower', {
      options: { path: tempSocketPath() },
    });
    atEnd(() => program.kill());
    expect(await program.command('run')).toEqual(['first', 'second']);
    const uncaught = program.events.filter(({ event: name }) => name === 'uncaught');
    expect(new Set(uncaught.map(({ message }) => message))).toEqual(
      new Set(['server connect', 'server disconnect', 'state', 'connect', 'disconnect', 'retry']),
    );
  });
});

describe('Kills and restarts of a server process under load', () => {
  it.each([
    ['killed', 'kill'],
    ['closed', 'close'],
  ] as const)(
    'lose no idempotent call, and lie about none of the others: %s',
    async (_name, way) => {
      const path = tempSocketPath();
      const ledger = join(tempDir(), 'ledger');
      const options = { path, ledger, drainTimeoutMs: 5_000 };
      const launch = (): Promise<ChildProgram<typeof ledgerProgram.commands>> =>
        ChildProgram.start('ledger', { options });
      let server = await launch();
      atEnd(() => server.kill());
      await server.command('listen');

      const clients = Array.from({ length: 2 }, () =>
        makeClient({ path, maxRepeats: 100, reconnect: { initialDelayMs: 5, maxDelayMs: 20 } }),
      );
      const failed = new Map<string, { delivery: string; code: string }>();
      const answered = new Set<string>();
      const wrong: unknown[] = [];
      let isOver = false;
      atEnd(() => (isOver = true));
      const callers = clients.flatMap((client, c) =>
        Array.from({ length: 16 }, async (_, i) => {
          for (let n = 0; !isOver; n++) {
            const idempotent = i % 2 === 0;
            const label = `${idempotent ? 'again' : 'once'}-${c}-${i}-${n}`;
            const data = { label, ms: n % 3 };
            try {
              const answer = await client.request('run', data, { idempotent, timeoutMs: 15_000 });
              if (answer === label) answered.add(label);
              else wrong.push([label, answer]);
            } catch (error) {
              failed.set(label, error as { delivery: string; code: string });
            }
          }
        }),
      );
      for (let restart = 0; restart < thoroughly(3, 1); restart++) {
        await new Promise((resolve) => setTimeout(resolve, 100));
        const next = launch();
        if (way === 'close') await server.command('close');
        await server.kill();
        server = await next;
        await server.command('listen');
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
      isOver = true;
      await Promise.all(callers);

      const runs = new Map<string, number>();
      for (const label of readFileSync(ledger, 'utf8').split('\n'))
        runs.set(label, (runs.get(label) ?? 0) + 1);
      expect(wrong).toEqual([]);
      expect([...answered].filter((label) => !runs.has(label))).toEqual([]);
      expect([...failed.keys()].filter((label) => label.startsWith('again'))).toEqual([]);
      expect([...runs].filter(([label, times]) => label.startsWith('once') && times > 1)).toEqual([]);
      expect([...failed.values()].filter(({ delivery }) => delivery !== 'sentNoReply')).toEqual([]);
      if (way === 'close') expect([...failed]).toEqual([]);
      else expect(failed.size).toBeGreaterThan(0);
      await server.command('close');
      expect(existsSync(path)).toBe(false);
    },
    20_000,
  );
});

function isGoingAway({ error_detail: detail }: WireMessage): boolean {
  return (detail as { code?: string } | undefined)?.code === 'GOING_AWAY';
}

/** Whether somebody else could listen at the address by now. */
function isGivenUp({ server, address }: NestServer): boolean {
  return 'path' in address ? !existsSync(address.path) : !server.unwrap().listening;
}

/** An address at which nobody listens, of the same kind. */
function freeAddressOf({ address }: NestServer): Address {
  return 'path' in address ? { path: tempSocketPath() } : { port: 1 };
}

/** Resolves once it holds, which nothing tells; or the test's own time limit ends the wait. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 1));
}
