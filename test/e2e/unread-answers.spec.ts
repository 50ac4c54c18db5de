import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { SocketServer, type SocketServerEvents, type SocketServerOptions } from 'nestjs-unix-socket';
import { atEnd } from '../support/at-end.js';
import { RawPeer } from '../support/frames.js';
import { tempSocketPath } from '../support/temp-paths.js';
import { until } from '../support/until.js';
import { cancel, connectByHand, hello, message, nextResponse, request } from '../support/wire.js';

const KIB = 1024;
const MIB = 1024 * KIB;
/** Answers of this size, two of them: more than a server sends to somebody who reads nothing. */
const BLOB_BYTES = 0.9 * MIB;

describe('An answer that its caller has not read so far as to be sent', () => {
  let runs: number;

  async function listen(
    options: Partial<SocketServerOptions> = {},
    events: SocketServerEvents = {},
  ): Promise<SocketServer> {
    const server = new SocketServer({ path: tempSocketPath(), drainTimeoutMs: 100, ...options }, events);
    atEnd(() => server.close());
    runs = 0;
    server.handle('blob', (n: number) => {
      runs++;
      return { n, text: 'x'.repeat(BLOB_BYTES) };
    });
    await server.listen();
    return server;
  }

  async function connectUnread({ endpoint }: SocketServer, ...frames: Buffer[]): Promise<Socket> {
    const socket = connect(endpoint as { path: string });
    socket.on('error', () => undefined);
    atEnd(() => socket.destroy());
    socket.write(Buffer.concat(frames));
    return socket;
  }

  const blobs = (count: number): Buffer[] =>
    Array.from({ length: count }, (_, n) => request(String(n), 'blob', n));

  /** Every handler has run, two answers have left, and the others wait. */
  async function untilHeld(server: SocketServer, calls: number): Promise<void> {
    await until(() => runs === calls && server.getStats().inFlight === calls - 2);
  }

  const answered = async (socket: Socket, count: number): Promise<string[]> => {
    const peer = new RawPeer(socket);
    const ids = (): string[] =>
      peer.received.map(({ request_id: id }) => id as string).filter((id) => id !== '');
    await until(() => ids().length >= count || socket.destroyed);
    return ids();
  };

  it('slows the reading of a caller that goes on sending, so that others get their turn', async () => {
    const server = await listen();
    const socket = await connectUnread(server, ...blobs(5));
    await untilHeld(server, 5);
    const flood = Array.from({ length: 2_000 }, (_, n) => request(`f${n}`, 'blob', 'x'.repeat(KIB)));
    const before = server.getStats().messagesReceived;
    socket.write(Buffer.concat(flood));
    let seen = before;
    let mostInOneTurn = 0;
    while (seen < before + flood.length) {
      await new Promise(setImmediate);
      const { messagesReceived } = server.getStats();
      mostInOneTurn = Math.max(mostInOneTurn, messagesReceived - seen);
      seen = messagesReceived;
    }
    // One read of the socket brings more than fifty of them.
    expect(mostInOneTurn).toBeLessThan(30);
  });

  it('lets turns pass in which such a caller is not read at all, until it reads', async () => {
    const server = await listen();
    const socket = await connectUnread(server, ...blobs(5));
    await untilHeld(server, 5);
    const flood = Array.from({ length: 500 }, (_, n) => request(`f${n}`, 'blob', 'x'.repeat(KIB)));
    const before = server.getStats().messagesReceived;
    socket.write(Buffer.concat(flood));
    const received = (): number => server.getStats().messagesReceived - before;
    let turns = 0;
    let turnsRead = 0;
    for (let seen = 0; received() < flood.length; turns++, seen = received()) {
      await new Promise(setImmediate);
      if (received() > seen) turnsRead++;
    }
    expect(turns).toBeGreaterThan(2 * turnsRead);
  });

  it('is dropped when the caller cancels, and the slot is free', async () => {
    const server = await listen();
    const socket = await connectUnread(server, hello(), ...blobs(5));
    await untilHeld(server, 5);
    socket.write(Buffer.concat([cancel('2'), cancel('4')]));
    await until(() => server.getStats().inFlight === 1);
    expect(await answered(socket, 3)).toEqual(['0', '1', '3']);
  });

  it('is dropped when its deadline passes', async () => {
    const server = await listen();
    const socket = await connectUnread(server, hello(), ...blobs(3));
    socket.write(request('late', 'blob', 3, { deadline_ms: 100 }));
    await untilHeld(server, 4);
    await until(() => server.getStats().inFlight === 1);
    expect(await answered(socket, 3)).toEqual(['0', '1', '2']);
  });

  it('is dropped when the connection is lost', async () => {
    const server = await listen();
    const socket = await connectUnread(server, ...blobs(5));
    await untilHeld(server, 5);
    socket.destroy();
    await until(() => server.getStats().activeConnections === 0);
    expect(server.getStats().inFlight).toBe(0);
    expect(await server.close()).toEqual({ cancelled: 0, unanswered: 0, unfinishedConnections: 0 });
  });

  it('reaches who reads again while the server closes, and is reported where nobody does', async () => {
    const server = await listen({ drainTimeoutMs: 2_000 });
    const socket = await connectUnread(server, ...blobs(5));
    await untilHeld(server, 5);
    const closed = server.close();
    expect(await answered(socket, 5)).toEqual(['0', '1', '2', '3', '4']);
    expect(await closed).toEqual({ cancelled: 0, unanswered: 0, unfinishedConnections: 0 });

    const other = await listen();
    const unread = await connectUnread(other, ...blobs(5));
    await untilHeld(other, 5);
    const cancelled = other.close();
    await until(() => other.getStats().inFlight === 0);
    unread.destroy();
    expect(await cancelled).toEqual({ cancelled: 3, unanswered: 0, unfinishedConnections: 1 });
  });

  it('is sent before the end of a connection that the application closes', async () => {
    const server = await listen();
    const socket = await connectUnread(server, hello(), ...blobs(5));
    await untilHeld(server, 5);
    server.connections()[0]?.close();
    expect(await answered(socket, 5)).toEqual(['0', '1', '2', '3', '4']);
  });

  it('and what is pushed are not lost because another handler answers only after that end', async () => {
    // Its answer was written to the ended socket, which broke it off with what the kernel had not taken.
    const causes: unknown[] = [];
    const server = await listen({}, { onDisconnect: (_connection, cause) => void causes.push(cause) });
    let answerLate = (): void => undefined;
    server.handle('late', () => new Promise<void>((resolve) => (answerLate = resolve)));
    const socket = await connectUnread(server, hello(), request('late', 'late', null));
    await until(() => server.getStats().inFlight === 1);
    let pushed = 0;
    while (server.getStats().connections[0]?.queuedBytes === 0) {
      server.push('filler', `${pushed++}`.padEnd(KIB));
      await new Promise(setImmediate);
    }
    server.connections()[0]?.close();
    answerLate();
    await new Promise(setImmediate);

    const peer = new RawPeer(socket);
    await until(() => socket.closed);
    expect(peer.received.filter(({ msg_type: type }) => type === 'push')).toHaveLength(pushed);
    expect(causes).toEqual([undefined]);
  });

  it('waits for a plain client that has ended its side, as long as that reads', async () => {
    const server = await listen({ heartbeat: { timeoutMs: 200 } });
    const socket = await connectUnread(server, ...blobs(6));
    await untilHeld(server, 6);
    socket.end();
    // A little at a time, for longer than the limit on silence.
    let bytes = 0;
    const startedAt = performance.now();
    while (!socket.readableEnded) {
      await delay(5);
      bytes += (socket.read() as Buffer | null)?.length ?? 0;
    }
    expect(performance.now() - startedAt).toBeGreaterThan(250);
    expect(bytes).toBeGreaterThan(6 * BLOB_BYTES);
    expect(server.getStats().errorsByCode).toEqual({});
  });

  it('does not keep a plain client that has ended its side and reads nothing', async () => {
    const server = await listen({ heartbeat: { timeoutMs: 200 } });
    const socket = await connectUnread(server, ...blobs(6));
    await untilHeld(server, 6);
    socket.end();
    await until(() => server.getStats().activeConnections === 0);
    expect(server.getStats().errorsByCode).toEqual({ PEER_SILENT: 1 });
  });

  it('is there for who asks again after a loss, and nothing runs twice', async () => {
    const server = await listen({ deduplication: { enabled: true } });
    const socket = await connectUnread(server, hello(), ...blobs(4));
    await untilHeld(server, 4);
    socket.destroy();
    await until(() => server.getStats().activeConnections === 0);
    const peer = await connectByHand(server.endpoint as { path: string });
    atEnd(() => peer.destroy());
    await peer.send(request('3', 'blob', 3));
    expect(await nextResponse(peer, '3')).toMatchObject({ data: { n: 3 } });
    expect(runs).toBe(4);
  });

  it('is the last that is sent of a stream, after its values', async () => {
    const server = new SocketServer(
      { path: tempSocketPath() },
      {
        onCall: (call) => {
          for (let n = 0; n < 4; n++) call.next('x'.repeat(BLOB_BYTES));
          call.fail({ message: 'at the end', payload: 'y'.repeat(BLOB_BYTES) });
          // Nothing can be added.
          call.next(1);
          call.respond(2);
          return true;
        },
      },
    );
    atEnd(() => server.close());
    await server.listen();
    const socket = await connectUnread(server, hello(), request('s', 'stream', null));
    await until(() => server.getStats().inFlight === 1);
    const peer = new RawPeer(socket);
    await until(() => peer.received.some(({ error }) => error === 'at the end'));
    expect(peer.received.filter(({ request_id: id }) => id === 's').map(({ more }) => more)).toEqual([
      true,
      true,
      true,
      true,
      undefined,
    ]);
  });

  it.each([
    [
      'whose deadline had passed',
      (n: number) => request(String(n), 'blob', n, { deadline_ms: 0 }),
      'SEND_QUEUE_FULL',
    ],
    ['to be let take over', () => message('heartbeat', '', null, { take_over: true }), undefined],
  ])('is not needed to be bounded: a client that asks without end, %s', async (_, make, code) => {
    const server = await listen({ maxSendQueueBytes: 2 * MIB, takeOver: false });
    const socket = await connectUnread(server, hello());
    const chunk = Buffer.concat(Array.from({ length: 2_000 }, (__, n) => make(n)));
    let most = 0;
    for (let n = 0; n < 30 && !socket.destroyed; n++) {
      await new Promise((resolve) => socket.write(chunk, resolve));
      for (const { queuedBytes } of server.getStats().connections) most = Math.max(most, queuedBytes);
    }
    expect(most).toBeLessThan(2.2 * MIB);
    if (code !== undefined) await until(() => server.getStats().activeConnections === 0);
    expect(Object.keys(server.getStats().errorsByCode)).toEqual(code === undefined ? [] : [code]);
  });
});
