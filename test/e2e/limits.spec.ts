import type {
  UnixSocketClientOptions,
  UnixSocketClientProxy,
  UnixSocketServerOptions,
} from 'nestjs-unix-socket';
import { atEnd } from '../support/at-end.js';
import { frame, RawPeer, type Address } from '../support/frames.js';
import { gone } from '../support/gone.js';
import { LogSpy } from '../support/log-spy.js';
import {
  freeAddress,
  makeClient,
  startNestServer,
  TRANSPORTS,
  type Transport,
} from '../support/nest-server.js';
import {
  connectByHand,
  greeting,
  heard,
  message,
  nextRequest,
  nextResponse,
  nextWhere,
  RawServer,
  request,
  response,
} from '../support/wire.js';

const KIB = 1024;
const MIB = 1024 * KIB;

async function startServer(options: Partial<UnixSocketServerOptions> = {}, transport: Transport = 'unix') {
  const started = await startNestServer({}, { ...freeAddress(transport), ...options });
  const { server } = started;
  /** Calls of `held` that have started, in their order; each waits until it is let go. */
  const held: { data: unknown; letGo(): void }[] = [];
  let onHeld = (): void => {};
  server.handle('held', (data: unknown) => {
    return new Promise((resolve) => {
      held.push({ data, letGo: () => resolve(data) });
      onHeld();
    });
  });
  server.handle('echo', (data: unknown) => data);
  server.handle('length', (data: string) => data.length);
  server.handle('make', (length: number) => 'x'.repeat(length));
  /** Resolves once so many calls of `held` have started in all. */
  const untilHeld = async (count: number): Promise<void> => {
    while (held.length < count) await new Promise<void>((resolve) => (onHeld = resolve));
  };
  return { ...started, held, untilHeld };
}

async function connectClient(
  address: Address,
  options: Partial<UnixSocketClientOptions> = {},
): Promise<UnixSocketClientProxy> {
  const client = makeClient({ ...address, ...options });
  await client.connect();
  return client;
}

async function connectPlain(address: Address): Promise<RawPeer> {
  const peer = await connectByHand(address, { isUpgraded: false });
  atEnd(() => peer.destroy());
  return peer;
}

/** A server made by hand and a client connected to it. */
async function connectToRaw(options: Partial<UnixSocketClientOptions>) {
  const server = await RawServer.listen(freeAddress('unix'));
  const client = makeClient({ ...server.address, ...options });
  // Before the client, which else would wait for a server made by hand to end its side too.
  atEnd(() => server.close());
  const connected = client.connect();
  const peer = await server.welcome();
  await connected;
  return { peer, client };
}

describe('the limit of a message', () => {
  it.each<[string, Partial<UnixSocketServerOptions>, Partial<UnixSocketClientOptions>]>([
    ['its own', {}, { maxFrameBytes: 3 * KIB }],
    ['the one its server announced', { maxFrameBytes: 3 * KIB }, {}],
    ['the lower of the two', { maxFrameBytes: 3 * KIB }, { maxFrameBytes: 8 * KIB }],
  ])('fails a request before it is sent: %s', async (_, serverOptions, clientOptions) => {
    const { server, address } = await startServer(serverOptions);
    const client = await connectClient(address, clientOptions);
    const tooLong = 'x'.repeat(3.5 * KIB);
    const error: unknown = await client.request('length', tooLong).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'FRAME_TOO_LARGE', delivery: 'notSent', limitBytes: 3 * KIB });
    // A request of exactly the limit passes, and of one byte more does not.
    const fits = tooLong.length - ((error as { bytes: number }).bytes - 3 * KIB);
    expect(await client.request('length', 'x'.repeat(fits))).toBe(fits);
    await expect(client.request('length', 'x'.repeat(fits + 1))).rejects.toMatchObject({
      code: 'FRAME_TOO_LARGE',
      bytes: 3 * KIB + 1,
    });
    await expect(
      new Promise((_resolve, reject) => client.emit('e', tooLong).subscribe({ error: reject })),
    ).rejects.toMatchObject({
      code: 'FRAME_TOO_LARGE',
      delivery: 'notSent',
    });
    expect(server.getStats()).toMatchObject({
      totalConnections: 1,
      errors: 0,
      receivedByType: { request: 1, push: 0 },
    });
  });

  it.each<[string, Partial<UnixSocketServerOptions>, Partial<UnixSocketClientOptions>]>([
    ["the server's", { maxFrameBytes: 4 * KIB }, {}],
    ['the one its client announced', {}, { maxFrameBytes: 4 * KIB }],
  ])(
    'turns a result into an error, and the connection lives: %s',
    async (_, serverOptions, clientOptions) => {
      const { server, address } = await startServer(serverOptions);
      const client = await connectClient(address, clientOptions);
      const error: unknown = await client.request('make', 5 * KIB).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ name: 'RemoteError', code: 'FRAME_TOO_LARGE', delivery: 'replied' });
      expect((error as Error).message).toContain('limit of 4096');
      expect(await client.request('make', 3 * KIB)).toHaveLength(3 * KIB);
      expect(server.getStats()).toMatchObject({ totalConnections: 1, errorsByCode: { FRAME_TOO_LARGE: 1 } });
      expect(client.getStats().reconnects).toBe(0);
    },
  );

  it('counts for a plain client as the server has it', async () => {
    const { address } = await startServer({ maxFrameBytes: 4 * KIB });
    const peer = await connectPlain(address);
    await peer.send(request('1', 'make', 5 * KIB), request('2', 'make', 3 * KIB));
    expect(await peer.next()).toMatchObject({
      request_id: '1',
      data: null,
      error: expect.stringContaining('limit of 4096'),
    });
    expect(await peer.next()).toMatchObject({ request_id: '2', error: null });
  });

  it.each([
    ['circular', Object.defineProperty({}, 'self', { enumerable: true, get: circular })],
    ['a BigInt', { n: 1n }],
    ['the reserved key', { __bytes__: 'x' }],
  ])('is not the only reason why a result cannot be sent: %s', async (_, result) => {
    const { server, address } = await startServer();
    server.handle('odd', () => result);
    const client = await connectClient(address);
    await expect(client.request('odd', null)).rejects.toMatchObject({
      name: 'RemoteError',
      code: 'UNENCODABLE_VALUE',
    });
    expect(await client.request('echo', 1)).toBe(1);
    expect(server.getStats().errorsByCode).toEqual({ UNENCODABLE_VALUE: 1 });
  });

  it.each([
    ['cannot be encoded', 1n],
    ['are too large', 'x'.repeat(5 * KIB)],
  ])('costs an error its details where they %s, never its text', async (_, details) => {
    const { server, address } = await startServer({ maxFrameBytes: 4 * KIB });
    server.handle('fail', () => {
      throw Object.assign(new Error('the reason'), { code: 'WHY', details });
    });
    const client = await connectClient(address);
    const plain = await connectPlain(address);
    await expect(client.request('fail', null)).rejects.toMatchObject({
      name: 'RemoteError',
      message: 'the reason',
      code: 'WHY',
      details: undefined,
    });
    await plain.send(request('1', 'fail', null));
    expect(await plain.next()).toMatchObject({ data: null, error: 'the reason' });
    expect(server.getStats().errors).toBe(2);
  });

  it('lets a push of exactly the limit through, and refuses a larger one', async () => {
    const { server, address } = await startServer({ maxFrameBytes: 4 * KIB });
    const [client, small] = [
      await connectClient(address),
      await connectClient(address, { maxFrameBytes: 2 * KIB }),
    ];
    // The server knows what they announced once it has answered them.
    await Promise.all([client.request('echo', 1), small.request('echo', 1)]);
    const received: string[] = [];
    for (const one of [client, small]) one.pushes<string>('p').subscribe((data) => received.push(data));
    let fits = 0;
    try {
      server.push('p', 'x'.repeat(5 * KIB));
    } catch (error) {
      expect(error).toMatchObject({ code: 'FRAME_TOO_LARGE', limitBytes: 4 * KIB });
      fits = 5 * KIB - ((error as { bytes: number }).bytes - 4 * KIB);
    }
    expect(() => server.push('p', 'x'.repeat(fits + 1))).toThrow(
      expect.objectContaining({ bytes: 4 * KIB + 1 }),
    );
    expect(server.push('p', 'x'.repeat(fits))).toMatchObject({ recipients: 1, dropped: 1 });
    expect(server.push('p', 'x'.repeat(fits - 2 * KIB))).toMatchObject({ recipients: 2, dropped: 0 });
    expect(server.push('p', 'x'.repeat(fits - 2 * KIB + 1))).toMatchObject({ recipients: 1, dropped: 1 });
    await Promise.all([client.request('echo', 1), small.request('echo', 1)]);
    expect(received.map(({ length }) => length).sort((a, b) => a - b)).toEqual([
      fits - 2 * KIB,
      fits - 2 * KIB,
      fits - 2 * KIB + 1,
      fits,
    ]);
  });

  it('ends the connection to a server that exceeds it, and says what came of the calls', async () => {
    const { peer, client } = await connectToRaw({ maxFrameBytes: 4 * KIB, reconnect: { enabled: false } });
    const answer = client.request('any', 1);
    answer.catch(() => {});
    const { request_id: id } = await nextRequest(peer);
    // The header alone is enough.
    await peer.send(response(id, 'x'.repeat(5 * KIB)).subarray(0, 4));
    await expect(answer).rejects.toMatchObject({
      code: 'CONNECTION_LOST',
      delivery: 'sentNoReply',
      cause: { code: 'FRAME_TOO_LARGE', limitBytes: 4 * KIB },
    });
    await gone(peer);
  });
});

describe.each(TRANSPORTS)('the limit of connections over %s', (transport) => {
  it('refuses one more, with a reason of its own for our client, and takes it when there is room', async () => {
    const { server, address, app } = await startServer({ maxConnections: 2 }, transport);
    const logs = LogSpy.over(app);
    const [first] = [await connectClient(address), await connectClient(address)];
    const third = makeClient({ ...address, reconnect: { initialDelayMs: 1, maxDelayMs: 5 } });
    const refusal = new Promise((resolve) =>
      third.on('reconnecting', (_attempt, _delay, error) => resolve(error)),
    );
    const call = third.request('echo', 'waited');
    expect(await refusal).toMatchObject({
      name: 'ConnectionRefusedByServerError',
      code: 'REFUSED_BY_SERVER',
    });
    expect(((await refusal) as Error).message).toContain('limit of 2 connections');

    const plain = await RawPeer.connect(address);
    atEnd(() => plain.destroy());
    expect(await plain.next()).toMatchObject({
      msg_type: 'error',
      request_id: '',
      error_detail: { code: 'TOO_MANY_CONNECTIONS' },
    });
    await gone(plain);

    const { totalConnections, activeConnections, refusedConnections } = server.getStats();
    expect({ totalConnections, activeConnections }).toEqual({ totalConnections: 2, activeConnections: 2 });
    expect(refusedConnections).toBeGreaterThanOrEqual(2);
    expect(logs.about('Connection refused')[0]).toMatch(/^warn Connection refused: .*limit of 2 connections/);
    await first?.close();
    expect(await call).toBe('waited');
  });

  it('rejects connect() with that reason where nothing reconnects', async () => {
    const { address } = await startServer({ maxConnections: 1 }, transport);
    await connectClient(address);
    const second = makeClient({ ...address, reconnect: { enabled: false } });
    await expect(second.connect()).rejects.toMatchObject({ code: 'REFUSED_BY_SERVER', delivery: 'notSent' });
  });
});

describe('the limit of calls at once', () => {
  it('lets further calls wait in order, and holds up nobody else', async () => {
    const { server, address, held, untilHeld } = await startServer({ maxConcurrentPerConnection: 2 });
    const [client, other] = [await connectClient(address), await connectClient(address)];
    const answers = [1, 2, 3, 4, 5].map((n) => client.request('held', n));
    await untilHeld(2);
    expect(await client.healthCheck()).toBe(true);
    expect(await other.request('echo', 'at once')).toBe('at once');
    expect(server.getStats()).toMatchObject({ inFlight: 2, queued: 3 });
    for (let n = 1; n <= 5; n++) {
      await untilHeld(Math.min(n + 1, 5));
      expect(held.map(({ data }) => data)).toEqual([1, 2, 3, 4, 5].slice(0, Math.min(n + 1, 5)));
      held[n - 1]?.letGo();
      expect(await answers[n - 1]).toBe(n);
    }
    expect(server.getStats()).toMatchObject({ inFlight: 0, queued: 0, errors: 0 });
  });

  it('keeps the order of a connection with sequential handling', async () => {
    const { server, address } = await startServer({ handling: 'sequential' });
    const steps: string[] = [];
    server.handle('step', async (turns: number) => {
      steps.push(`begin ${turns}`);
      // The first takes the longest.
      for (let i = 0; i < turns; i++) await new Promise(setImmediate);
      steps.push(`end ${turns}`);
      return turns;
    });
    const turns = [20, 5, 0, 1];
    const peer = await connectPlain(address);
    await peer.send(...turns.map((n) => request(String(n), 'step', n)));
    for (const n of turns) expect(await peer.next()).toMatchObject({ request_id: String(n), data: n });
    expect(steps).toEqual(turns.flatMap((n) => [`begin ${n}`, `end ${n}`]));
    const client = await connectClient(address);
    expect(await Promise.all(turns.map((n) => client.request('step', n)))).toEqual(turns);
    expect(steps.slice(8)).toEqual(steps.slice(0, 8));
  });

  it.each<[string, Partial<UnixSocketServerOptions>]>([
    ['calls', { maxQueuedPerConnection: 1 }],
    ['bytes of calls', { maxQueuedBytesPerConnection: 60 }],
  ])('refuses what an upgraded client sends beyond the %s that may wait', async (_, options) => {
    const { server, address, held, untilHeld } = await startServer({
      maxConcurrentPerConnection: 1,
      ...options,
    });
    const client = await connectClient(address);
    const [running, waiting, refused] = ['running', 'waiting', 'refused'].map((data) =>
      client.request('held', data),
    );
    await expect(refused).rejects.toMatchObject({
      name: 'RefusedError',
      code: 'OVERLOADED',
      delivery: 'notSent',
    });
    expect(await client.healthCheck()).toBe(true);
    for (const [i, answer] of [running, waiting].entries()) {
      await untilHeld(i + 1);
      held[i]?.letGo();
      await answer;
    }
    expect(held.map(({ data }) => data)).toEqual(['running', 'waiting']);
    expect(server.getStats()).toMatchObject({ totalConnections: 1, errorsByCode: { OVERLOADED: 1 } });
    const again = client.request('held', 'again');
    await untilHeld(3);
    held[2]?.letGo();
    expect(await again).toBe('again');
  });

  it('stops reading from a plain client instead, and neither loses nor accuses it', async () => {
    const { server, address, held, untilHeld } = await startServer({
      maxConcurrentPerConnection: 1,
      maxQueuedPerConnection: 1,
      heartbeat: { intervalMs: 20, timeoutMs: 60 },
      frameTimeoutMs: 60,
    });
    const peer = await connectPlain(address);
    const ids = Array.from({ length: 10 }, (_unused, i) => String(i));
    const last = request('last', 'held', 'last');
    await peer.send(...ids.map((id) => request(id, 'held', id)), last.subarray(0, 30));
    // Its beats to the client show that time passes: far more than it allows for silence or for half a frame.
    for (let i = 0; i < 15; i++)
      expect(await nextWhere(peer, () => true)).toMatchObject({ msg_type: 'heartbeat' });
    expect(held.map(({ data }) => data)).toEqual(['0']);
    await peer.send(last.subarray(30));
    for (const [i, id] of [...ids, 'last'].entries()) {
      await untilHeld(i + 1);
      held[i]?.letGo();
      expect(await nextResponse(peer, id)).toMatchObject({ data: id, error: null });
    }
    expect(server.getStats().errorsByCode).toEqual({ OVERLOADED: expect.any(Number) });
    await heard(peer);
  });
});

describe('a client that does not read', () => {
  it('is disconnected when its pushes pile up, and no other', async () => {
    const { server, address, app } = await startServer({ maxSendQueueBytes: MIB });
    const logs = LogSpy.over(app);
    const deaf = await connectPlain(address);
    deaf.socket.pause();
    const reader = await connectClient(address);
    const received: unknown[] = [];
    reader.pushes('n').subscribe((data) => received.push((data as { n: number }).n));
    const ended = new Promise<Error | undefined>((resolve) =>
      server.on('disconnect', (_one, cause) => resolve(cause)),
    );
    let count = 0;
    let dropped = 0;
    while (dropped === 0 && count < 1_000) {
      ({ dropped } = server.push('n', { n: count++, fill: 'x'.repeat(64 * KIB) }));
      // The reader, in the same process, needs its turn.
      await reader.request('echo', null);
    }
    expect(await ended).toMatchObject({ code: 'SEND_QUEUE_FULL', limitBytes: MIB });
    expect(count).toBeLessThan(100);
    server.push('n', { n: count++ });
    await reader.request('echo', null);
    expect(received).toEqual([...Array(count).keys()]);
    expect(server.getStats()).toMatchObject({ activeConnections: 1, errorsByCode: { SEND_QUEUE_FULL: 1 } });
    expect(logs.about('does not read')).toHaveLength(1);
  });

  it('gets no more answers made than it reads, and all of them once it does', async () => {
    const { server, address } = await startServer({ maxConcurrentPerConnection: 8 });
    let made = 0;
    server.handle('make', (length: number) => {
      made++;
      return 'x'.repeat(length);
    });
    const peer = await connectPlain(address);
    peer.socket.pause();
    const other = await connectClient(address);
    await peer.send(...Array.from({ length: 200 }, (_unused, i) => request(String(i), 'make', 64 * KIB)));
    // Requests over the other connection show that the server had its turns.
    for (let i = 0; i < 20; i++) await other.request('echo', i);
    const { queuedBytes, queued } = server.getStats().connections[0] ?? {};
    expect(made).toBeLessThan(100);
    expect(queued).toBe(200 - made);
    expect(queuedBytes).toBeLessThan(3 * MIB);
    peer.socket.resume();
    for (let i = 0; i < 200; i++)
      expect(await peer.next()).toMatchObject({ request_id: String(i), error: null });
    expect(made).toBe(200);
  });

  it('gets no answers to heartbeats piled up', async () => {
    const { server, address } = await startServer();
    const peer = await connectPlain(address);
    peer.socket.pause();
    await peer.send(request('1', 'make', 4 * MIB));
    const other = await connectClient(address);
    await other.request('echo', 1);
    const before = server.getStats();
    await peer.send(message('heartbeat', '', null), message('heartbeat', '', null));
    await other.request('echo', 2);
    const after = server.getStats();
    expect(after.receivedByType.heartbeat).toBe(before.receivedByType.heartbeat + 2);
    expect(after.sentByType.heartbeat).toBe(before.sentByType.heartbeat);
  });
});

describe('a server that does not read', () => {
  it('makes calls fail once too much waits for it, and is reached again when it goes on', async () => {
    const { peer, client } = await connectToRaw({ maxSendQueueBytes: MIB });
    peer.socket.pause();
    const calls = Array.from({ length: 10 }, () => client.request('any', 'x'.repeat(512 * KIB)));
    const outcomes = Promise.allSettled(calls);
    await expect(calls[9]).rejects.toMatchObject({
      code: 'SEND_QUEUE_FULL',
      delivery: 'notSent',
      limitBytes: MIB,
    });
    const failed = client.getStats().failuresByCode['SEND_QUEUE_FULL'] as number;
    expect(failed).toBeGreaterThan(4);
    peer.socket.resume();
    for (let i = failed; i < 10; i++) await peer.send(response((await nextRequest(peer)).request_id, i));
    const states = (await outcomes).map(({ status }) => status);
    expect(states).toEqual([
      ...Array<string>(10 - failed).fill('fulfilled'),
      ...Array<string>(failed).fill('rejected'),
    ]);
  });
});

it('never stops both ends at once, however large the echoes', async () => {
  const { address } = await startServer();
  const client = await connectClient(address);
  const texts = Array.from({ length: 16 }, (_unused, i) => String(i).padEnd(MIB, 'x'));
  const answers = await Promise.all(texts.map((text) => client.request('echo', text)));
  expect(answers.every((answer, i) => answer === texts[i])).toBe(true);
});

it('honours the limits of a server made by hand, or takes its own where that names none', async () => {
  for (const [announced, limit] of [
    [2 * KIB, 2 * KIB],
    ['2048', 4 * KIB],
    [-1, 4 * KIB],
    [64 * KIB, 4 * KIB],
  ]) {
    const server = await RawServer.listen(freeAddress('unix'));
    const client = makeClient({ ...server.address, maxFrameBytes: 4 * KIB });
    atEnd(() => server.close());
    const connected = client.connect();
    const peer = await server.accept();
    await peer.send(
      frame({
        ...(JSON.parse(greeting().toString('utf8', 4)) as object),
        data: { caps: [], max_frame_bytes: announced },
      }),
    );
    await connected;
    await expect(client.request('any', 'x'.repeat(5 * KIB))).rejects.toMatchObject({ limitBytes: limit });
  }
});

function circular(this: object): object {
  return this;
}
