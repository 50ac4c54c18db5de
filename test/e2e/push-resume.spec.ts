import {
  InvalidOptionError,
  request,
  SocketServer,
  type ClientConnection,
  type LinkOptions,
  type SocketServerEvents,
  type SocketServerOptions,
} from 'nestjs-unix-socket';
import { FaultProxy } from 'nestjs-unix-socket/testing';
import { atEnd } from '../support/at-end.js';
import { faultsIn, Follower } from '../support/follower.js';
import { tempSocketPath } from '../support/frames.js';
import { until } from '../support/until.js';
import { connectByHand, heard, hello, message, nextWhere, request as requestFrame } from '../support/wire.js';

type ListenOn = { path: string } | { host: string; port: number };

const KEPT = { rooms: ['prices', 'orders'] };

async function startServer(
  options: Partial<SocketServerOptions> = {},
  listen: ListenOn = { path: tempSocketPath() },
  events: SocketServerEvents = {},
): Promise<SocketServer> {
  const server: SocketServer = new SocketServer(
    { resume: KEPT, drainTimeoutMs: 200, ...options, ...listen },
    {
      onCall: (call) => {
        const { type, data } = call.message;
        const { connection } = call;
        if (type === 'join') connection.join(...(data as string[]));
        else connection.leave(...(data as string[]));
        call.respond(null);
        return true;
      },
      ...events,
    },
  );
  await server.listen();
  atEnd(() => server.close());
  return server;
}

/** A client that has joined; at another endpoint than the server's, if there is one in between. */
async function follow(
  server: SocketServer,
  rooms: readonly string[],
  options: Partial<LinkOptions> = {},
  at: object = server.endpoint,
): Promise<Follower> {
  const follower = await Follower.connect({ ...(at as { path: string }), ...options });
  await request(follower.link, 'join', rooms);
  return follower;
}

/** Loses the connection, and lets `meanwhile` happen while the server knows of it and the client is not back. */
async function lose(server: SocketServer, follower: Follower, meanwhile: () => unknown): Promise<void> {
  follower.link.stopAutoReconnect();
  const before = server.connectionCount;
  follower.lose();
  await until(() => server.connectionCount < before);
  await meanwhile();
  follower.link.startAutoReconnect();
  await follower.link.connect();
  await settled(follower);
}

/** Resolves once all that the server has sent has been heard. */
async function settled(follower: Follower): Promise<void> {
  await follower.link.healthCheck(10_000);
  await new Promise(setImmediate);
}

const ENDPOINTS: readonly [string, () => ListenOn][] = [
  ['a Unix socket', () => ({ path: tempSocketPath() })],
  ['TCP', () => ({ host: '127.0.0.1', port: 0 })],
];

describe.each(ENDPOINTS)('A kept room over %s', (_name, endpoint) => {
  it('goes on for a client that was lost where it was, in its old rooms and in order', async () => {
    const server = await startServer({}, endpoint());
    const follower = await follow(server, ['prices', 'kitchen']);
    const other = await follow(server, ['prices']);
    for (let i = 1; i <= 3; i++) server.to('prices').push('p', i);
    await follower.has(3);
    await lose(server, follower, () => {
      for (let i = 4; i <= 50; i++) server.to('prices').push('p', i);
      expect(server.getStats()).toMatchObject({ awayClients: 1, resumedConnections: 0 });
    });
    server.to('prices').push('p', 51);
    server.to('kitchen').push('k', 'not numbered');
    await Promise.all([follower.has(52), other.has(51)]);
    expect(follower.data).toEqual([...Array.from({ length: 51 }, (_, i) => i + 1), 'not numbered']);
    expect(follower.pushes.map(({ seq }) => seq?.[0]?.n).slice(0, 51)).toEqual(follower.data.slice(0, 51));
    expect(follower.pushes[51]?.seq).toBeUndefined();
    expect([...follower.gaps, ...other.gaps]).toEqual([]);
    expect(other.data).toEqual(follower.data.slice(0, 51));
    expect(server.getStats()).toMatchObject({ awayClients: 0, resumedConnections: 1 });
    expect(follower.link.getStats()).toMatchObject({ pushGaps: 0, reconnects: 1 });
  });
});

describe('A kept room', () => {
  it('begins for whoever joins late with the next push, also after leaving, and again', async () => {
    const server = await startServer();
    const follower = await follow(server, ['prices']);
    for (const data of ['a', 'b']) server.to('prices').push('p', data);
    await request(follower.link, 'leave', ['prices']);
    for (const data of ['c', 'd']) server.to('prices').push('p', data);
    await request(follower.link, 'join', ['prices', 'prices']);
    server.to('prices').push('p', 'e');
    await lose(server, follower, () => server.to('prices').push('p', 'f'));
    await follower.has(4);
    expect(follower.data).toEqual(['a', 'b', 'e', 'f']);
    expect(follower.pushes.map(({ seq }) => seq?.[0]?.n)).toEqual([1, 2, 5, 6]);
    expect(follower.gaps).toEqual([]);
    await request(follower.link, 'leave', ['prices']);
    await lose(server, follower, () => server.to('prices').push('p', 'g'));
    await settled(follower);
    expect(follower.pushes).toHaveLength(4);
    expect(follower.gaps).toEqual([]);
  });

  it.each<[string, SocketServerOptions['resume'], number]>([
    ['its number of pushes', { maxPushes: 3 }, 7],
    ['its bytes', { maxBytes: 30_000 }, 8],
    ['any bytes', { maxBytes: 0 }, 10],
  ])('tells of the gap when more was missed than %s allow', async (_what, limits, last) => {
    const server = await startServer({ resume: { ...KEPT, ...limits } });
    const follower = await follow(server, ['prices']);
    const filler = 'x'.repeat(10_000);
    await lose(server, follower, () => {
      for (let i = 1; i <= 10; i++) server.to('prices').push('p', { i, filler });
      expect(server.getStats().keptBytes).toBeLessThan(35_000);
    });
    server.to('prices').push('p', { i: 11 });
    await follower.has(11 - last);
    expect(follower.gaps).toEqual([{ room: 'prices', from: 1, to: last }]);
    expect(follower.pushes.map(({ seq }) => seq?.[0]?.n)).toEqual(
      Array.from({ length: 11 - last }, (_, i) => last + 1 + i),
    );
  });

  it('forgets pushes and clients when their time has passed, and its epoch with the last of them', async () => {
    const server = await startServer({ resume: { ...KEPT, windowMs: 20 } });
    const follower = await follow(server, ['prices']);
    server.to('prices').push('p', 1);
    await follower.has(1);
    await lose(server, follower, () => until(() => server.getStats().awayClients === 0));
    await until(() => follower.gaps.length === 1);
    expect(follower.gaps).toEqual([{ room: 'prices', from: 2, to: undefined }]);
    await until(() => server.getStats().keptBytes === 0);
    await request(follower.link, 'join', ['prices']);
    server.to('prices').push('p', 2);
    await follower.has(2);
    expect(faultsIn(follower.of('prices'))).toEqual([]);
    expect(follower.gaps).toHaveLength(1);
  });

  it('has another epoch in another server, and the gap has no end', async () => {
    const path = tempSocketPath();
    const first = await startServer({}, { path });
    const follower = await follow(first, ['prices', 'orders']);
    first.to('prices').push('p', 1);
    await follower.has(1);
    await first.close();
    const second = await startServer({}, { path });
    await until(() => follower.gaps.length === 2);
    expect(follower.gaps).toEqual([
      { room: 'prices', from: 2, to: undefined },
      { room: 'orders', from: 1, to: undefined },
    ]);
    second.to('prices').push('p', 'nobody is in there');
    await request(follower.link, 'join', ['prices']);
    second.to('prices').push('p', 2);
    await follower.has(2);
    expect(follower.data).toEqual([1, 2]);
    expect(faultsIn(follower.of('prices'))).toEqual([]);
    expect(follower.gaps).toHaveLength(2);
  });

  it('has a gap without an end for each server that is lost, also where nothing was pushed in between', async () => {
    const path = tempSocketPath();
    let server = await startServer({}, { path });
    const follower = await follow(server, ['prices']);
    for (let losses = 1; losses <= 2; losses++) {
      await server.close();
      server = await startServer({}, { path });
      await until(() => follower.gaps.length === losses && follower.link.isConnected);
      await request(follower.link, 'join', ['prices']);
    }
    server.to('prices').push('p', 1);
    await follower.has(1);
    expect(follower.gaps).toEqual([
      { room: 'prices', from: 1, to: undefined },
      { room: 'prices', from: 1, to: undefined },
    ]);
    expect(faultsIn(follower.of('prices'))).toEqual([]);
  });

  it('gives its old rooms back to a client only as the application allows', async () => {
    const failures: unknown[] = [];
    const server = await startServer({}, undefined, { onResumeFailed: (_, error) => failures.push(error) });
    const asked: (readonly string[])[] = [];
    server.authorizeResume((connection, rooms) => {
      asked.push(rooms);
      expect(connection.accountId).toBe('desk');
      return ['orders', 'vault'];
    });
    const follower = await follow(server, ['prices', 'orders', 'kitchen'], { accountId: 'desk' });
    await lose(server, follower, () => server.to('prices', 'orders').push('p', 1));
    await follower.has(1);
    await settled(follower);
    expect(asked).toEqual([['prices', 'orders', 'kitchen']]);
    expect(follower.gaps).toEqual([{ room: 'prices', from: 1, to: undefined }]);
    expect([...(server.connections()[0]?.rooms ?? [])]).toEqual(['orders']);

    const refusal = new Error('no directory');
    server.authorizeResume(() => Promise.reject(refusal));
    await lose(server, follower, () => undefined);
    await until(() => follower.gaps.length === 2);
    expect(follower.gaps[1]).toEqual({ room: 'orders', from: 2, to: undefined });
    expect(failures).toEqual([refusal]);
    expect(server.getStats().errorsByCode).toEqual({ RESUME_FAILED: 1 });
  });

  it('keeps the order when the application takes its time, and joins the client meanwhile', async () => {
    const server = await startServer();
    const answers: ((rooms: string[]) => void)[] = [];
    server.authorizeResume(() => new Promise((resolve) => answers.push(resolve)));
    const follower = await follow(server, ['prices', 'orders']);
    await lose(server, follower, () => server.to('prices', 'orders').push('p', 1));
    await until(() => answers.length === 1);
    server.to('prices').push('p', 2);
    await settled(follower);
    expect(follower.data).toEqual([]);
    await request(follower.link, 'join', ['prices']);
    server.to('prices', 'orders').push('p', 3);
    await settled(follower);
    expect(follower.data).toEqual([1, 2, 3]);
    server.to('orders').push('p', 4);
    answers[0]?.(['prices', 'orders']);
    await follower.has(4);
    server.to('orders', 'prices').push('p', 5);
    await follower.has(5);
    expect(follower.data).toEqual([1, 2, 3, 4, 5]);
    expect(follower.gaps).toEqual([]);

    // Lost again before the answer, it is as if it had not been there.
    await lose(server, follower, () => server.to('orders').push('p', 6));
    await until(() => answers.length === 2);
    await lose(server, follower, () => server.to('orders').push('p', 7));
    await until(() => answers.length === 3);
    for (const answer of answers) answer(['orders']);
    await follower.has(7);
    await until(() => follower.gaps.length > 0);
    expect(follower.data).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(follower.gaps).toEqual([{ room: 'prices', from: 5, to: undefined }]);
  });

  it('sends what one room holds no more for another that is allowed later', async () => {
    const server = await startServer({ resume: { ...KEPT, maxPushes: 3 } });
    const answers: ((rooms: string[]) => void)[] = [];
    server.authorizeResume(() => new Promise((resolve) => answers.push(resolve)));
    const follower = await follow(server, ['prices', 'orders']);
    await lose(server, follower, () => {
      server.to('prices', 'orders').push('p', 1);
      for (let i = 2; i <= 4; i++) server.to('prices').push('p', i);
    });
    await until(() => answers.length === 1);
    await request(follower.link, 'join', ['prices']);
    await follower.has(3);
    answers[0]?.(['orders']);
    await follower.has(4);
    await settled(follower);
    expect(follower.data).toEqual([2, 3, 4, 1]);
    expect(follower.gaps).toEqual([{ room: 'prices', from: 1, to: 1 }]);
  });

  it('keeps the order of all rooms that the application joins the client to at once', async () => {
    const server = await startServer();
    server.authorizeResume(() => new Promise(() => undefined));
    const follower = await follow(server, ['prices', 'orders']);
    await lose(server, follower, () => {
      server.to('orders').push('p', 1);
      server.to('prices', 'orders').push('p', 2);
    });
    await request(follower.link, 'join', ['prices', 'orders']);
    await follower.has(2);
    expect(follower.data).toEqual([1, 2]);
    expect(follower.gaps).toEqual([]);
  });

  it('sends a push to several rooms once, also when it comes later', async () => {
    const server = await startServer();
    const follower = await follow(server, ['prices', 'orders']);
    server.to('prices', 'orders', 'prices').push('p', 'both');
    await follower.has(1);
    await lose(server, follower, () => {
      server.to('orders').push('p', 'o');
      server.to('prices', 'orders').push('p', 'both again');
      server.to('prices').push('p', 'p');
      server.to('kitchen', 'orders').push('p', 'o again');
    });
    await follower.has(5);
    await settled(follower);
    expect(follower.data).toEqual(['both', 'o', 'both again', 'p', 'o again']);
    expect(follower.gaps).toEqual([]);
    for (const room of ['prices', 'orders']) expect(faultsIn(follower.of(room))).toEqual([]);
  });

  it('has no gap for those whom a push excepts, here or away', async () => {
    const server = await startServer();
    const follower = await follow(server, ['prices', 'kitchen'], { accountId: 'desk' });
    const connection = server.connections()[0] as ClientConnection;
    const room = server.to('prices');
    room.except(connection).push('p', 'excepted');
    room.push('p', 1);
    await follower.has(1);
    await lose(server, follower, () => {
      room.except(connection).push('p', 'excepted');
      room.except('kitchen').push('p', 'excepted');
      room.except({ accountId: 'desk' }).push('p', 'excepted');
      room.except('prices').push('p', 'excepted');
      room.except({ accountId: 'others' }, 'elsewhere').push('p', 2);
      room.except('kitchen').push('p', 'excepted');
    });
    room.push('p', 3);
    await follower.has(3);
    expect(follower.data).toEqual([1, 2, 3]);
    expect(follower.gaps).toEqual([]);

    // A function cannot be asked about a client that is not there.
    await lose(server, follower, () => {
      room.except(() => false).push('p', 'unknown');
    });
    await until(() => follower.gaps.length === 1);
    expect(follower.gaps).toEqual([{ room: 'prices', from: 10, to: 10 }]);
    room.except(() => true).push('p', 'excepted');
    room.except(() => false).push('p', 4);
    await follower.has(4);
    expect(follower.gaps).toHaveLength(1);
    expect(follower.data).toEqual([1, 2, 3, 4]);
  });

  it('does not number pushes to connections, accounts and those whom a function chooses', async () => {
    const server = await startServer();
    const follower = await follow(server, ['prices'], { accountId: 'desk' });
    const connection = server.connections()[0] as ClientConnection;
    connection.push('p', 1);
    server.to({ accountId: 'desk' }).push('p', 2);
    server.to(() => true).push('p', 3);
    server.push('p', 4);
    server.to({ accountId: 'desk' }, 'orders').push('p', 'numbered elsewhere');
    await follower.has(5);
    expect(follower.pushes.map(({ seq }) => seq?.[0]?.room)).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
      'orders',
    ]);
    expect(follower.gaps).toEqual([]);
  });

  it('takes a client over from a connection that only seems to be there', async () => {
    const server = await startServer();
    const proxy = await FaultProxy.listen({ target: server.endpoint as { path: string } });
    atEnd(() => proxy.close());
    const follower = await follow(server, ['prices', 'kitchen'], {}, proxy.endpoint);
    const gone = server.connections()[0];
    // To the end: the server never hears that nobody is there any more.
    proxy.connections[0]?.blackhole();
    server.to('prices').push('p', 1);
    follower.lose();
    await follower.has(1);
    expect(follower.link.getStats().reconnects).toBe(1);
    server.to('prices').push('p', 2);
    await follower.has(2);
    expect(follower.data).toEqual([1, 2]);
    expect(follower.gaps).toEqual([]);
    expect(gone?.rooms.size).toBe(0);
    expect(server.to('kitchen').push('k', 1)).toEqual({ recipients: 1, dropped: 0 });
    expect(server.getStats().resumedConnections).toBe(1);
  });

  it('does not let a client back that the application has put out', async () => {
    const server = await startServer();
    const follower = await follow(server, ['prices']);
    server.connections()[0]?.close('enough');
    await until(() => follower.gaps.length === 1);
    expect(follower.gaps).toEqual([{ room: 'prices', from: 1, to: undefined }]);
    expect(server.getStats()).toMatchObject({ awayClients: 0, resumedConnections: 0 });
  });

  it('is joined on connecting by the application itself, and still goes on where it was', async () => {
    const server = await startServer({}, undefined, { onConnect: (connection) => connection.join('prices') });
    const follower = await Follower.connect(server.endpoint as { path: string });
    await settled(follower);
    server.to('prices').push('p', 1);
    await follower.has(1);
    const proxy = await FaultProxy.listen({ target: server.endpoint as { path: string } });
    atEnd(() => proxy.close());
    await lose(server, follower, () => {
      server.to('prices').push('p', 2);
      // Into the connection that is being made, before it has said who it is.
      const onSocket = server.onSocket.bind(server);
      server.onSocket = (socket) => {
        onSocket(socket);
        server.to('prices').push('p', 3);
      };
    });
    server.to('prices').push('p', 4);
    await follower.has(4);
    expect(follower.data).toEqual([1, 2, 3, 4]);
    expect(follower.gaps).toEqual([]);
  });
});

describe('A slow client of a kept room', () => {
  const filler = 'x'.repeat(64 * 1024);

  it.each(['dropNewest', 'dropOldest', 'volatile'] as const)(
    'hears of what %s cost it once it reads again',
    async (policy) => {
      const server = await startServer({ maxSendQueueBytes: 512 * 1024 });
      const proxy = await FaultProxy.listen({ target: server.endpoint as { path: string } });
      atEnd(() => proxy.close());
      const follower = await follow(server, ['prices'], {}, proxy.endpoint);
      proxy.stall();
      let dropped = 0;
      for (let i = 0; i < 60; i++) dropped += server.to('prices').push('p', filler, { policy }).dropped;
      proxy.resume();
      const missing = (): number =>
        follower.gaps.reduce((sum, { from, to = Infinity }) => sum + to - from + 1, 0);
      await until(() => follower.pushes.length + missing() === 60);
      expect(missing()).toBeGreaterThan(10);
      if (policy !== 'dropOldest') expect(missing()).toBe(dropped);
      expect(faultsIn(follower.of('prices'))).toEqual([]);
      expect(follower.link.getStats().reconnects).toBe(0);
    },
  );

  it('is sent what it was too slow for once another room of it is allowed', async () => {
    const resume = { ...KEPT, maxBytes: 16 * 1024 * 1024 };
    const server = await startServer({ maxSendQueueBytes: 512 * 1024, resume });
    const proxy = await FaultProxy.listen({ target: server.endpoint as { path: string } });
    atEnd(() => proxy.close());
    const answers: ((rooms: string[]) => void)[] = [];
    server.authorizeResume(() => new Promise((resolve) => answers.push(resolve)));
    const follower = await follow(server, ['prices', 'orders'], {}, proxy.endpoint);
    await lose(server, follower, () => undefined);
    await until(() => answers.length === 1);
    await request(follower.link, 'join', ['prices']);
    proxy.stall();
    for (let i = 0; i < 60; i++) server.to('prices', 'orders').push('p', filler, { policy: 'dropOldest' });
    expect(server.getStats().pushesDropped).toBeGreaterThan(10);
    answers[0]?.(['orders']);
    await new Promise(setImmediate);
    proxy.resume();
    await follower.has(60);
    await settled(follower);
    const numbers = follower.pushes.map(({ seq }) => seq?.[1]?.n ?? 0).sort((a, b) => a - b);
    expect(numbers).toEqual(Array.from({ length: 60 }, (_, i) => i + 1));
    expect(follower.gaps.every(({ room }) => room === 'prices')).toBe(true);
  });

  it('is disconnected past the cap by default, and comes back for what it has missed', async () => {
    const server = await startServer({ maxSendQueueBytes: 512 * 1024 });
    const proxy = await FaultProxy.listen({ target: server.endpoint as { path: string } });
    atEnd(() => proxy.close());
    const follower = await follow(server, ['prices'], {}, proxy.endpoint);
    proxy.stall();
    for (let i = 0; i < 60; i++) server.to('prices').push('p', filler);
    expect(server.getStats().errorsByCode).toEqual({});
    await until(() => server.connectionCount === 0);
    proxy.resume();
    await follower.has(60);
    expect(follower.gaps).toEqual([]);
    expect(faultsIn(follower.of('prices'))).toEqual([]);
  });

  it('cannot be sent the latest value alone: that would change the order', async () => {
    const server = await startServer();
    const follower = await follow(server, ['prices']);
    expect(() => server.setRoomPolicy('prices', 'latest')).toThrow(InvalidOptionError);
    expect(() => server.to('kitchen', 'prices').push('p', 1, { policy: 'latest' })).toThrow(
      InvalidOptionError,
    );
    expect(() => server.to('prices').push('p', undefined)).toThrow('a push needs data');
    server.to('prices').push('p', 2);
    await follower.has(1);
    expect(follower.pushes[0]?.seq?.[0]?.n).toBe(1);
  });
});

describe('A client that lies about where it was', () => {
  /** A client by hand that has joined; what the server told it. */
  async function joined(server: SocketServer, rooms = ['prices']) {
    const peer = await connectByHand(server.endpoint as { path: string }, { isUpgraded: false });
    atEnd(() => peer.destroy());
    await peer.send(ours(undefined), requestFrame('j', 'join', rooms));
    const { resume } = await nextWhere(peer, (frame) => frame['resume'] !== undefined);
    await heard(peer);
    return { peer, notice: resume as { token: string; positions: { epoch: string }[] } };
  }

  function ours(resume: object | undefined): Buffer {
    return message('heartbeat', '', null, { hello: { name: 'by hand', caps: ['resume'], resume }, probe: 1 });
  }

  /** What a new connection is told and sent that asks for this. */
  async function ask(server: SocketServer, resume: object) {
    const peer = await connectByHand(server.endpoint as { path: string }, { isUpgraded: false });
    atEnd(() => peer.destroy());
    await peer.send(ours(resume));
    await heard(peer);
    const pushes = peer.received.filter(({ msg_type: type }) => type === 'push');
    const notices = peer.received.flatMap((frame) =>
      frame['resume'] === undefined ? [] : [frame['resume']],
    );
    return {
      peer,
      numbers: pushes.map(({ seq }) => (seq as { n: number }[])[0]?.n),
      notices: notices as { token?: string; positions: object[]; answer?: boolean }[],
    };
  }

  it('gets no more than it could have had', async () => {
    const server = await startServer();
    await follow(server, ['prices']);
    for (let i = 1; i <= 5; i++) server.to('prices').push('secret', i);
    let { peer, notice } = await joined(server);
    const epoch = notice.positions[0]?.epoch;
    let token: string = notice.token;
    for (let i = 6; i <= 9; i++) server.to('prices').push('p', i);
    for (const [n, numbers] of [
      [0, [6, 7, 8, 9]],
      [-5, [6, 7, 8, 9]],
      [2.5, [6, 7, 8, 9]],
      ['6', [6, 7, 8, 9]],
      [8, [9]],
      [9, []],
      [1_000_000, []],
      [2 ** 60, [6, 7, 8, 9]],
    ] as const) {
      peer.destroy();
      const answer = await ask(server, {
        token,
        positions: [{ room: 'prices', epoch, n }, { room: 'orders', epoch, n: 0 }, null, 7, { room: {} }],
      });
      expect([n, answer.numbers]).toEqual([n, numbers]);
      expect(answer.notices.at(-1)).toMatchObject({ answer: true, positions: [] });
      ({ peer } = answer);
      token = answer.notices.at(-1)?.token as string;
    }
    peer.destroy();
    const other = await ask(server, { token, positions: [{ room: 'prices', epoch: 'another', n: 9 }] });
    expect(other.numbers).toEqual([6, 7, 8, 9]);
  });

  it('gets nothing for a token that is not its own, used up, or none at all', async () => {
    const server = await startServer();
    const { peer, notice } = await joined(server);
    server.to('prices').push('p', 1);
    peer.destroy();
    const positions = [{ room: 'prices', epoch: notice.positions[0]?.epoch, n: 0 }];
    for (const token of [
      '',
      'x',
      `${notice.token}x`,
      notice.token.slice(0, -1),
      7,
      null,
      {},
      'x'.repeat(100_000),
    ]) {
      const { numbers, notices } = await ask(server, { token, positions });
      expect(numbers).toEqual([]);
      expect(notices).toEqual([{ positions: [], answer: true }]);
    }
    for (const positions of [undefined, {}, 7]) {
      const { notices } = await ask(server, { token: notice.token, positions });
      expect(notices).toEqual([{ positions: [], answer: true }]);
    }
    expect(server.getStats()).toMatchObject({ awayClients: 1, resumedConnections: 0, errors: 0 });

    const list = Array.from({ length: 10_000 }, (_, i) => ({ room: `r${i}`, epoch: 'e', n: i }));
    const first = await ask(server, { token: notice.token, positions: list });
    expect(first.numbers).toEqual([1]);
    const renewed = first.notices.at(-1)?.token as string;
    first.peer.destroy();
    // It may never have seen the new one, so the old one is good until it says that it has.
    const again = await ask(server, { token: notice.token, positions });
    expect(again.numbers).toEqual([1]);
    await again.peer.send(message('heartbeat', '', null, { resume: { ack: true } }));
    await heard(again.peer);
    again.peer.destroy();
    for (const token of [notice.token, renewed]) {
      const { numbers } = await ask(server, { token, positions });
      expect(numbers).toEqual([]);
    }
    const last = await ask(server, { token: again.notices.at(-1)?.token as string, positions });
    expect(last.numbers).toEqual([1]);
  });

  it('cannot make the server remember more clients than it may', async () => {
    const server = await startServer({ resume: { ...KEPT, maxClients: 10 } });
    const tokens: string[] = [];
    for (let i = 0; i < 40; i++) {
      const { peer, notice } = await joined(server);
      tokens.push(notice.token);
      peer.destroy();
      await until(() => server.connectionCount === 0);
    }
    expect(new Set(tokens).size).toBe(40);
    expect(tokens.every((token) => /^[\w-]{32}$/.test(token))).toBe(true);
    expect(server.getStats().awayClients).toBe(10);
    await Promise.all(
      Array.from({ length: 100 }, (_, i) => ask(server, { token: tokens[i % 30], positions: [] })),
    );
    expect(server.getStats()).toMatchObject({ awayClients: 10, resumedConnections: 0 });
  });

  it('tells a client that does not follow numbers nothing of them', async () => {
    const server = await startServer();
    const peer = await connectByHand(server.endpoint as { path: string }, { isUpgraded: false });
    atEnd(() => peer.destroy());
    await peer.send(requestFrame('j', 'join', ['prices']));
    await heard(peer);
    server.to('prices').push('p', 1);
    server.to('prices').except('prices').push('p', 2);
    await peer.send(hello({ resume: { ack: true } }));
    await heard(peer);
    expect(peer.received.filter((frame) => frame['resume'] !== undefined)).toEqual([]);
    expect(peer.received.filter(({ msg_type: type }) => type === 'push')).toHaveLength(1);
    expect(server.getStats().awayClients).toBe(0);
  });
});

describe('A numbered stream', () => {
  it('comes once and in order, or lies in a gap, whatever happens to connections and servers', async () => {
    const seed = Date.now() % 1_000_000;
    let state = seed;
    const chance = (below: number): number => (state = (state * 48_271 + 11) % 0x7fff_ffff) % below;
    const path = tempSocketPath();
    const options = { resume: { ...KEPT, maxPushes: 200 } };
    let server = await startServer(options, { path });
    const proxy = await FaultProxy.listen({ target: { path }, seed });
    atEnd(() => proxy.close());
    const rooms = [['prices'], ['prices', 'orders'], ['orders']];
    const followers = await Promise.all(rooms.map((each) => follow(server, each, {}, proxy.endpoint)));
    // Whoever was not known any more joins again, as an application does.
    const rejoin = setInterval(() => {
      followers.forEach(({ link }, index) => {
        if (link.isConnected) request(link, 'join', rooms[index]).catch(() => undefined);
      });
    }, 5);
    atEnd(() => clearInterval(rejoin));

    let pushed = 0;
    const end = performance.now() + 900;
    while (performance.now() < end || followers.some(({ pushes }) => pushes.length <= 20)) {
      for (let i = chance(20); i > 0; i--) {
        const to = [['prices'], ['orders'], ['prices', 'orders']][chance(3)] as string[];
        server.to(...to).push('p', ++pushed);
      }
      const what = chance(40);
      if (what === 0) proxy.reset();
      else if (what === 1) proxy.truncate(chance(3_000), 'toClient');
      else if (what === 2) proxy.blackhole();
      else if (what === 4) proxy.connections[chance(3)]?.reset();
      else if (what === 5) server.connections()[chance(3)]?.close();
      else if (what === 6 && chance(3) === 0) {
        await server.close();
        server = await startServer(options, { path });
      }
      if (what === 3 || what === 7) {
        // First the connections whose bytes were swallowed: no stream socket loses some and goes on.
        proxy.reset();
        proxy.clear();
      }
      await new Promise((resolve) => setTimeout(resolve, chance(3)));
    }
    clearInterval(rejoin);
    proxy.reset();
    proxy.clear();
    for (const [index, { link }] of followers.entries()) {
      await link.connect();
      await request(link, 'join', rooms[index], { idempotent: true });
    }
    server.to('prices', 'orders').push('p', 'end');
    for (const follower of followers) await until(() => follower.data.includes('end'));

    followers.forEach((follower, index) => {
      expect(follower.pushes.length).toBeGreaterThan(20);
      for (const room of rooms[index] as string[])
        expect({ seed, room, faults: faultsIn(follower.of(room)) }).toEqual({ seed, room, faults: [] });
    });
  });
});
