import type {
  UnixSocketClientOptions,
  UnixSocketClientProxy,
  UnixSocketServer,
  UnixSocketServerOptions,
} from 'nestjs-unix-socket';
import { atEnd } from '../support/at-end.js';
import { frame, RawPeer, type Address, type WireMessage } from '../support/frames.js';
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
  heard,
  hello,
  message,
  nextResponse,
  nextWhere,
  RawServer,
  request,
  response,
} from '../support/wire.js';

const BEAT = message('heartbeat', '', null);
/** Long enough never to be reached within a test. */
const NEVER = 3_600_000;

/** A gate that a handler waits at. */
function gate() {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { open, opened };
}

/** Resolves once the server has seen so many connections end, these among them that have ended before. */
async function untilEnded(server: UnixSocketServer, count: number): Promise<void> {
  const ended = (): number => server.getStats().totalConnections - server.connectionCount;
  if (ended() >= count) return;
  await new Promise<void>((resolve) => {
    server.on('disconnect', () => {
      if (ended() >= count) resolve();
    });
  });
}

async function startServer(options: Partial<UnixSocketServerOptions> = {}, transport: Transport = 'unix') {
  const started = await startNestServer({}, { ...freeAddress(transport), ...options });
  const { open, opened } = gate();
  const aborted = new Promise<unknown>((resolve) => {
    started.server.handle('held', async (data: unknown, { signal }) => {
      signal.addEventListener('abort', () => resolve(signal.reason));
      await opened;
      return data;
    });
  });
  started.server.handle('echo', (data: unknown) => data);
  return { ...started, open, aborted };
}

async function connect(address: Address): Promise<RawPeer> {
  const peer = await connectByHand(address, { isUpgraded: false });
  atEnd(() => peer.destroy());
  return peer;
}

async function startClient(
  options: Partial<UnixSocketClientOptions>,
  transport: Transport = 'unix',
): Promise<{ server: RawServer; client: UnixSocketClientProxy; lost: Promise<Error> }> {
  const server = await RawServer.listen(freeAddress(transport));
  const client = makeClient({ ...server.address, reconnect: { initialDelayMs: 5 }, ...options });
  // Before the client, which else would wait for a server made by hand to end its side too.
  atEnd(() => server.close());
  const lost = new Promise<Error>((resolve) => client.on('disconnect', resolve));
  return { server, client, lost };
}

async function welcome(
  server: RawServer,
  client: UnixSocketClientProxy,
  isUpgraded: boolean,
): Promise<RawPeer> {
  const connected = client.connect();
  const peer = await server.welcome({ isUpgraded });
  await connected;
  return peer;
}

const isBeat = ({ msg_type: type }: WireMessage): boolean => type === 'heartbeat';

describe('a server', () => {
  it.each(['concurrent', 'sequential'] as const)(
    'answers heartbeats while handlers run: %s',
    async (handling) => {
      const { address, open } = await startServer({ handling });
      const peer = await connect(address);
      await peer.send(request('1', 'held', 'a'), request('2', 'held', 'b'), BEAT, BEAT);
      expect([await peer.next(), await peer.next()]).toEqual(
        Array(2).fill(
          expect.objectContaining({ msg_type: 'heartbeat', request_id: '', data: null, error: null }),
        ),
      );
      open();
      expect([await peer.next(), await peer.next()]).toMatchObject([
        { request_id: '1', data: 'a' },
        { request_id: '2', data: 'b' },
      ]);
    },
  );

  it('answers a heartbeat plainly to a plain client, and a probe with its number', async () => {
    const { address } = await startServer();
    const peer = await connect(address);
    await peer.send(BEAT);
    expect(Object.keys(await peer.next())).toEqual(['msg_type', 'request_id', 'data', 'timestamp', 'error']);
    await peer.send(message('heartbeat', '', null, { probe: 7 }));
    expect(await peer.next()).toMatchObject({ msg_type: 'heartbeat', probe_ack: 7 });
  });

  it('answers 20 heartbeats a second and reads the others', async () => {
    const { address, server } = await startServer();
    const peer = await connect(address);
    await peer.send(Buffer.concat(Array<Buffer>(200).fill(BEAT)), request('last', 'echo', 1));
    await nextResponse(peer, 'last');
    expect(peer.received.filter(({ msg_type: type }) => type === 'heartbeat')).toHaveLength(20);
    expect(server.getStats().receivedByType).toMatchObject({ heartbeat: 200, request: 1 });
  });

  it('ends a connection from which nothing comes, and keeps those that beat', async () => {
    const { address, server, app } = await startServer({
      protocols: ['v2'],
      heartbeat: { timeoutMs: 120, intervalMs: 0 },
    });
    const logs = LogSpy.over(app);
    const [silent, beating] = [await connect(address), await connect(address)];
    const client = makeClient({ ...address, heartbeat: { intervalMs: 20 } });
    await client.connect();
    const { connectionId } = client.getStats();
    const beats = setInterval(() => void beating.send(BEAT), 20);
    atEnd(() => clearInterval(beats));
    await gone(silent);
    // Twice as long again: whoever beats stays.
    await gone(await connect(address));
    await gone(await connect(address));
    await untilEnded(server, 3);
    expect(server.getStats().errorsByCode).toEqual({ PEER_SILENT: 3 });
    expect(logs.about('Nothing was received')).toHaveLength(3);
    await beating.send(request('1', 'echo', 'still there'));
    expect(await nextResponse(beating, '1')).toMatchObject({ data: 'still there' });
    expect(client.getStats().connectionId).toBe(connectionId);
  });

  it('ends a silent connection although requests of it run', async () => {
    const { address, aborted } = await startServer({ heartbeat: { timeoutMs: 100, intervalMs: 0 } });
    const peer = await connect(address);
    await peer.send(request('1', 'held', null));
    await gone(peer);
    expect(await aborted).toMatchObject({ code: 'PEER_SILENT' });
  });

  it('takes a byte now and then for a sign of life, and ends a frame that does not go on', async () => {
    const { address, server } = await startServer({
      frameTimeoutMs: 120,
      heartbeat: { timeoutMs: 120, intervalMs: 0 },
    });
    const peer = await connect(address);
    const slow = request('slow', 'echo', 'x');
    const begun = performance.now();
    for (const byte of slow) {
      await peer.send(Buffer.of(byte));
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
    expect(performance.now() - begun).toBeGreaterThan(300);
    expect(await peer.next()).toMatchObject({ request_id: 'slow', data: 'x' });
    await peer.send(slow.subarray(0, 50));
    await gone(peer);
    await untilEnded(server, 1);
    expect(server.getStats().errorsByCode).toEqual({ FRAME_TIMEOUT: 1 });
  });

  it('ends a begun frame that does not go on also without heartbeats', async () => {
    const { address, server } = await startServer({ frameTimeoutMs: 100, heartbeat: { enabled: false } });
    const idle = await connect(address);
    const peer = await connect(address);
    await peer.send(request('1', 'echo', 1).subarray(0, 3));
    await gone(peer);
    await untilEnded(server, 1);
    await heard(idle);
    expect(server.getStats().errorsByCode).toEqual({ FRAME_TIMEOUT: 1 });
  });

  it('measures round trips to upgraded clients, and sends no probe to others', async () => {
    const { address, server } = await startServer({ heartbeat: { intervalMs: 30 } });
    const plain = await connect(address);
    const client = makeClient({ ...address });
    await client.connect();
    const probed = await connect(address);
    await probed.send(hello());
    await nextWhere(probed, ({ probe }) => typeof probe === 'number');
    const { probe } = await nextWhere(probed, (received) => typeof received['probe'] === 'number');
    await probed.send(message('heartbeat', '', null, { probe_ack: probe }));
    await heard(probed);
    const roundTrips = server.getStats().connections.map(({ roundTripMs }) => roundTripMs);
    expect(roundTrips).toEqual([undefined, expect.any(Number), expect.any(Number)]);
    expect(plain.received).toHaveLength(1);
  });
});

// Both wait for a beat of the server's own: all transports at once take no longer.
describe('a server over any transport', () => {
  it('still answers a plain client that has ended its side', async () => {
    await Promise.all(
      TRANSPORTS.map(async (transport) => {
        const { address, server, open } = await startServer({}, transport);
        const peer = await connect(address);
        await peer.send(request('1', 'held', 'a'), request('2', 'held', 'b'));
        peer.end();
        // It is written to now and then, to find out whether it is there.
        expect(await peer.next(5_000)).toMatchObject({ msg_type: 'heartbeat' });
        open();
        expect([await nextResponse(peer, '1'), await nextResponse(peer, '2')]).toMatchObject([
          { data: 'a' },
          { data: 'b' },
        ]);
        await gone(peer);
        await untilEnded(server, 1);
        expect(server.getStats().errors).toBe(0);
      }),
    );
  });

  it('finds out that a plain client was killed while a handler works for it', async () => {
    await Promise.all(
      TRANSPORTS.map(async (transport) => {
        const { address, server, aborted } = await startServer({}, transport);
        const peer = await connect(address);
        await peer.send(request('1', 'held', null));
        await heard(peer);
        peer.destroy();
        await peer.closed;
        expect(await aborted).toMatchObject({ code: 'CONNECTION_LOST' });
        await untilEnded(server, 1);
      }),
    );
  });
});

describe.each(TRANSPORTS)('over %s', (transport) => {
  it('ends the connection of a client that has ended its side and waits for nothing', async () => {
    const { address, server } = await startServer({}, transport);
    const plain = await connect(address);
    await plain.send(request('1', 'echo', 1));
    plain.end();
    expect(await nextResponse(plain, '1')).toMatchObject({ data: 1 });
    await gone(plain);
    await untilEnded(server, 1);
  });

  it('cancels at once for an upgraded client that has ended its side', async () => {
    const { address, server, aborted } = await startServer({}, transport);
    const peer = await connect(address);
    await peer.send(hello(), request('1', 'held', 'a'));
    peer.end();
    await aborted;
    await untilEnded(server, 1);
    expect(peer.received.map(({ request_id: id }) => id)).not.toContain('1');
  });

  it.each([
    ['plain', false],
    ['upgraded', true],
  ])('gives up a silent %s server and connects again', async (_, isUpgraded) => {
    const { server, client, lost } = await startClient(
      { heartbeat: { intervalMs: 20, timeoutMs: 100 } },
      transport,
    );
    const peer = await welcome(server, client, isUpgraded);
    expect(await lost).toMatchObject({ code: 'PEER_SILENT' });
    expect((await lost).message).toContain('100 ms');
    await gone(peer);
    const second = await server.welcome({ isUpgraded });
    const answer = client.request('again', 1);
    const { request_id: id } = await nextWhere(second, ({ msg_type: type }) => type === 'request');
    await second.send(response(id, 2));
    expect(await answer).toBe(2);
    expect(client.getStats().reconnects).toBe(1);
  });
});

describe('a client', () => {
  it('fails what is in flight when an upgraded server falls silent', async () => {
    const { server, client } = await startClient({ heartbeat: { intervalMs: 20, timeoutMs: 100 } });
    await welcome(server, client, true);
    await expect(client.request('never', 1)).rejects.toMatchObject({
      code: 'CONNECTION_LOST',
      delivery: 'sentNoReply',
      cause: { code: 'PEER_SILENT' },
    });
  });

  it('lets a plain server be silent while it owes an answer, also one that nobody waits for any more', async () => {
    const { server, client, lost } = await startClient({ heartbeat: { intervalMs: 15, timeoutMs: 60 } });
    const peer = await welcome(server, client, false);
    await expect(client.request('late', 1, { timeoutMs: 30 })).rejects.toMatchObject({
      code: 'REQUEST_TIMEOUT',
    });
    const { request_id: id } = await nextWhere(peer, ({ msg_type: type }) => type === 'request');
    // Silent for at least 240 ms, by the client's own beats.
    for (let i = 0; i < 16; i++) expect(await nextWhere(peer, isBeat)).not.toHaveProperty('probe');
    expect(client.isConnected()).toBe(true);
    await peer.send(response(id, 'late'));
    expect(await lost).toMatchObject({ code: 'PEER_SILENT' });
  });

  it('takes any answer of a plain server to its heartbeats for a sign of life', async () => {
    const { server, client } = await startClient({ heartbeat: { intervalMs: 15, timeoutMs: 80 } });
    const peer = await welcome(server, client, false);
    const beats: WireMessage[] = [];
    for (let i = 0; i < 16; i++) {
      beats.push(await nextWhere(peer, isBeat));
      await peer.send(BEAT);
    }
    expect(client.isConnected()).toBe(true);
    expect(client.getStats()).toMatchObject({ reconnects: 0, lastRoundTripMs: undefined });
    expect(beats.map((beat) => Object.keys(beat))).toEqual(
      Array(16).fill(['msg_type', 'request_id', 'data', 'timestamp', 'error']),
    );
  });

  it('ends a begun frame of a server that does not go on, and takes slow bytes', async () => {
    const { server, client, lost } = await startClient({
      frameTimeoutMs: 80,
      heartbeat: { enabled: false },
    });
    const peer = await welcome(server, client, false);
    const answer = client.request('slow', 1);
    const { request_id: id } = await peer.next();
    for (const byte of response(id, 2)) {
      await peer.send(Buffer.of(byte));
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
    expect(await answer).toBe(2);
    await peer.send(response(id, 3).subarray(0, 10));
    expect(await lost).toMatchObject({ code: 'FRAME_TIMEOUT' });
  });

  it('answers probes of an upgraded server, and no plain heartbeats', async () => {
    const { server, client } = await startClient({ heartbeat: { intervalMs: NEVER } });
    const peer = await welcome(server, client, true);
    const { probe } = await nextWhere(peer, (received) => 'hello' in received);
    await peer.send(BEAT, message('heartbeat', '', null, { probe: 5 }), BEAT);
    expect(await peer.next()).toMatchObject({ msg_type: 'heartbeat', probe_ack: 5 });
    await peer.send(
      message('heartbeat', '', null, { probe_ack: probe }),
      message('heartbeat', '', null, { probe: 6 }),
    );
    expect(await peer.next()).toMatchObject({ probe_ack: 6 });
    expect(client.getStats().lastRoundTripMs).toBeGreaterThanOrEqual(0);
    expect(peer.received).toHaveLength(3);
  });

  it('checks health by a real round trip', async () => {
    const { server, client } = await startClient({ heartbeat: { intervalMs: NEVER } });
    expect(await client.healthCheck()).toBe(false);
    const peer = await welcome(server, client, false);
    expect(await client.healthCheck(50)).toBe(false);
    const healthy = client.healthCheck(5_000);
    await nextWhere(peer, isBeat);
    await nextWhere(peer, isBeat);
    await peer.send(BEAT);
    expect(await healthy).toBe(true);
  });

  it('gives up a server that accepts and does not greet', async () => {
    const { server, client } = await startClient({ connectTimeoutMs: 60 });
    const connected = client.connect();
    const peer = await server.accept();
    await expect(connected).rejects.toMatchObject({ code: 'CONNECT_TIMEOUT' });
    await gone(peer);
    expect(peer.received).toEqual([]);
    await server.welcome();
    await client.connect();
  });

  it('never answers a request or a push of a server', async () => {
    const { server, client } = await startClient({ heartbeat: { intervalMs: NEVER } });
    const peer = await welcome(server, client, false);
    await peer.send(
      request('1', 'echo', 1),
      frame({ msg_type: 'push', request_id: 'p', data: null, timestamp: 1 }),
    );
    const healthy = client.healthCheck(5_000);
    expect(await peer.next()).toMatchObject({ msg_type: 'heartbeat' });
    await peer.send(BEAT);
    expect(await healthy).toBe(true);
  });
});
