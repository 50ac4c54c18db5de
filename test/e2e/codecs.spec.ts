import { createHash } from 'node:crypto';
import {
  SocketServer,
  UnixSocketClientProxy,
  type Codec,
  type LinkOptions,
  type SocketServerOptions,
} from 'nestjs-unix-socket';
import { lastValueFrom, take, toArray } from 'rxjs';
import { atEnd } from '../support/at-end.js';
import { compactAnswer, compactCall, compactEnd } from '../support/compact.js';
import { frame, RawPeer, type Address } from '../support/frames.js';
import { gone } from '../support/gone.js';
import { tempSocketPath } from '../support/temp-paths.js';
import { until } from '../support/until.js';
import { connectByHand, message, nextResponse, RawServer, request } from '../support/wire.js';

/** Writes its values so that nobody else can read them, and has seen what it wrote. */
class OwnCodec implements Codec {
  readonly name = 'own';
  written = 0;

  encode(value: unknown): Buffer | undefined {
    if (value === 'not this one') return undefined;
    this.written++;
    return Buffer.from(JSON.stringify(value)).map((byte) => byte ^ 0xff) as Buffer;
  }

  decode(bytes: Buffer): unknown {
    return JSON.parse(Buffer.from(bytes.map((byte) => byte ^ 0xff)).toString());
  }
}

async function serve(options: Partial<SocketServerOptions> = {}) {
  const path = tempSocketPath();
  const server = new SocketServer({ path, ...options } as SocketServerOptions);
  server.handle('echo', (data: unknown) => data);
  await server.listen();
  atEnd(() => server.close());
  const connect = (more: Partial<LinkOptions> = {}) => {
    const client = new UnixSocketClientProxy({ path, ...more } as LinkOptions);
    atEnd(() => client.close());
    return client;
  };
  return { server, path, connect };
}

const MIB = 1024 * 1024;
const BINARY = Buffer.alloc(MIB, 'binary');
/** Large enough not to be copied, and small enough to be compared. */
const LARGE = Buffer.alloc(70_000, 'large');

describe('binary between two ends of this package', () => {
  it.each<[string, unknown]>([
    ['a Buffer', LARGE],
    ['a small Buffer', Buffer.from([1, 2, 3])],
    ['one inside', { name: 'x', list: [{ bytes: LARGE }], at: new Date(0), none: undefined }],
    ['a typed array', new Uint16Array([1, 2])],
    ['an empty one', Buffer.alloc(0)],
    ['one beside a text that is not UTF-8', [Buffer.from([1]), '\ud83d']],
  ])('arrives as it arrives in JSON: %s', async (_, value) => {
    const { server, connect } = await serve();
    const [packed, plain] = [connect(), connect({ codec: 'json' })];
    const answer = await packed.request('echo', value);
    expect(answer).toEqual(await plain.request('echo', value));
    const pushes: unknown[] = [];
    for (const client of [packed, plain]) client.onPush('bytes', (data) => void pushes.push(data));
    expect(server.push('bytes', value)).toEqual({ recipients: 2, dropped: 0 });
    await until(() => pushes.length === 2);
    expect(pushes).toEqual([answer, answer]);
  });

  it('travels without hexadecimal where both have the codec, and only there', async () => {
    const { server, connect } = await serve();
    for (const [codec, least, most] of [
      ['auto', 1, 1.01],
      ['msgpack', 1, 1.01],
      ['json', 2, 2.01],
    ] as const) {
      const client = connect({ codec });
      await client.request('echo', BINARY);
      const { bytesReceived, bytesSent } = client.getStats();
      for (const bytes of [bytesReceived, bytesSent]) {
        expect(bytes).toBeGreaterThan(MIB * least);
        expect(bytes).toBeLessThan(MIB * most);
      }
      await client.close();
    }
    expect(server.getStats().errors).toBe(0);
  });

  it('is kept as it was when the call was made, although it waits for a connection of another kind', async () => {
    const path = tempSocketPath();
    const client = new UnixSocketClientProxy({ path, reconnect: { initialDelayMs: 5 } });
    atEnd(() => client.close());
    const bytes = Buffer.from([1, 2, 3]);
    const answer = client.request('echo', { bytes });
    bytes.fill(0);
    const server = new SocketServer({ path, codec: 'json' });
    server.handle('echo', (data: unknown) => data);
    await server.listen();
    atEnd(() => server.close());
    expect(await answer).toEqual({ bytes: Buffer.from([1, 2, 3]) });
  });

  it('counts against the limit on frames as it is', async () => {
    const { server, connect } = await serve({ maxFrameBytes: MIB });
    const [packed, plain] = [connect(), connect({ codec: 'json' })];
    const most = Buffer.alloc(MIB - 1_000, 7);
    const digest = (data: unknown) =>
      createHash('sha1')
        .update(data as Buffer)
        .digest('hex');
    expect(digest(await packed.request('echo', most))).toBe(digest(most));
    await expect(plain.request('echo', most)).rejects.toMatchObject({
      code: 'FRAME_TOO_LARGE',
      delivery: 'notSent',
    });
    await expect(packed.request('echo', BINARY)).rejects.toMatchObject({
      code: 'FRAME_TOO_LARGE',
      delivery: 'notSent',
    });
    expect(server.push('bytes', most)).toEqual({ recipients: 1, dropped: 1 });
    expect(() => server.push('bytes', BINARY)).toThrow(expect.objectContaining({ code: 'FRAME_TOO_LARGE' }));
  });
});

describe('a codec of its own', () => {
  it('carries all payloads between ends that both have it, and is out of the way elsewhere', async () => {
    const codec = new OwnCodec();
    const { connect } = await serve({ codec });
    const [own, other] = [connect({ codec }), connect()];
    expect(await own.request('echo', { a: [1] })).toEqual({ a: [1] });
    expect(codec.written).toBe(2);
    expect(await own.request('echo', 'not this one')).toBe('not this one');
    expect(await other.request('echo', { b: Buffer.from([1]) })).toEqual({ b: Buffer.from([1]) });
    expect(codec.written).toBe(2);
  });

  it('may keep the bytes that it is given', async () => {
    const codec: Codec = {
      name: 'raw',
      encode: (value) => value as Buffer,
      decode: (bytes) => bytes,
    };
    const { connect } = await serve({ codec });
    const client = connect({ codec });
    const sent = Array.from({ length: 50 }, (_, i) => Buffer.alloc(1 + i * 100, i));
    const answers: unknown[] = [];
    for (const bytes of sent) answers.push(await client.request('echo', bytes));
    expect(answers).toEqual(sent);
  });

  it('that cannot write or read a value fails the call, or ends the connection, of that value alone', async () => {
    class Broken extends OwnCodec {
      override decode(bytes: Buffer): unknown {
        const value = super.decode(bytes);
        if (value === 'unreadable') throw new Error('no');
        return value;
      }

      override encode(value: unknown): Buffer | undefined {
        if (value === 'unwritable') throw new Error('cannot');
        return super.encode(value);
      }
    }
    const { server, connect } = await serve({ codec: new Broken() });
    const [client, other] = [connect({ codec: new Broken() }), connect()];
    expect(await client.request('echo', 1)).toBe(1);
    await expect(client.request('echo', 'unwritable')).rejects.toMatchObject({ code: 'UNENCODABLE_VALUE' });
    expect(await other.request('echo', 2)).toBe(2);
    await expect(client.request('echo', 'unreadable')).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
    expect(await other.request('echo', 3)).toBe(3);
    expect(server.getStats().errorsByCode).toEqual({ MALFORMED_FRAME: 1 });
  });
});

describe.each(['unix', 'tcp'] as const)('compact frames over %s', (transport) => {
  const CAPS = { caps: ['compact'] };
  const HELLO = message('heartbeat', '', null, { hello: { name: 'by hand', ...CAPS } });
  const GREETING = message('response', '', { account_id: '', conn_id: '1', ...CAPS });
  const here = (): Address => (transport === 'unix' ? { path: tempSocketPath() } : { port: 0 });

  it('come from a server to a client that lists them, and are understood by it', async () => {
    const server = new SocketServer(here() as SocketServerOptions);
    server.handle('echo', (data: unknown) => data);
    server.handle('count', async function* () {
      yield* [1, 2];
    });
    await server.listen();
    atEnd(() => server.close());
    const peer = await RawPeer.connect(server.endpoint as Address);
    atEnd(() => peer.destroy());
    expect(await peer.next()).toMatchObject({
      data: { caps: expect.arrayContaining(['compact']) as unknown },
    });
    await peer.send(HELLO, compactCall('request', 'a-1', 'echo', { 汉: 'x'.repeat(5_000) }));
    expect(await nextResponse(peer, 'a-1')).toMatchObject({
      data: { 汉: 'x'.repeat(5_000) },
      isCompact: true,
    });
    await peer.send(compactCall('request', 'a-2', 'count', null));
    expect(await peer.next()).toMatchObject({ request_id: 'a-2', data: 1, more: true, isCompact: true });
    expect(await peer.next()).toMatchObject({ request_id: 'a-2', data: 2, more: true, isCompact: true });
    expect(await peer.next()).toMatchObject({ request_id: 'a-2', data: null, end: true, isCompact: true });
    server.push('news', [1]);
    expect(await peer.next()).toMatchObject({
      msg_type: 'push',
      data: { type: 'news', data: [1] },
      isCompact: true,
    });
    // What such a frame has no place for is said in JSON, and may be asked in it.
    await peer.send(compactCall('request', 'a-3', 'no such', 1), request('a-4', 'echo', 1));
    const unknown = await peer.next();
    expect(unknown).toMatchObject({ request_id: 'a-3', error: 'Unknown request type' });
    expect(unknown).not.toHaveProperty('isCompact');
    expect(await peer.next()).toMatchObject({ request_id: 'a-4', data: 1, isCompact: true });
  });

  it('come from a client to a server that lists them, and are understood by it', async () => {
    const server = await RawServer.listen(here());
    const client = new UnixSocketClientProxy(server.address as LinkOptions);
    atEnd(() => client.close());
    atEnd(() => server.close());
    const values = lastValueFrom(client.send('count', { n: 2 }).pipe(toArray()));
    const peer = await server.accept();
    await peer.send(GREETING);
    expect(await peer.next()).toMatchObject({
      msg_type: 'heartbeat',
      hello: { caps: expect.arrayContaining(['compact']) as unknown },
    });
    const asked = await peer.next();
    expect(asked).toMatchObject({
      msg_type: 'request',
      data: { type: 'count', data: { n: 2 } },
      isCompact: true,
    });
    const id = asked.request_id;
    await peer.send(compactAnswer('more', id, 1), compactAnswer('more', id, 2), compactEnd(id));
    expect(await values).toEqual([1, 2]);
    client.emit('seen', 1);
    expect(await peer.next()).toMatchObject({
      msg_type: 'push',
      data: { type: 'seen', data: 1 },
      isCompact: true,
    });
    const answer = client.request('any', 1, { meta: { by: 'ann' } });
    const withMeta = await peer.next();
    expect(withMeta).toMatchObject({ msg_type: 'request', meta: { by: 'ann' } });
    await peer.send(compactAnswer('response', withMeta.request_id, null));
    expect(await answer).toBeNull();
    const pushed = lastValueFrom(client.pushes('news').pipe(take(1)));
    await peer.send(compactCall('push', 'p-1', 'news', 'late'));
    expect(await pushed).toBe('late');
  });

  it('go to nobody who does not list them, and end the connection of one that sends them all the same', async () => {
    const server = new SocketServer(here() as SocketServerOptions);
    server.handle('echo', (data: unknown) => data);
    await server.listen();
    atEnd(() => server.close());
    for (const isUpgraded of [true, false]) {
      const peer = await connectByHand(server.endpoint as Address, { isUpgraded });
      await peer.send(request('1', 'echo', 1));
      expect(await nextResponse(peer, '1')).not.toHaveProperty('isCompact');
      await peer.send(compactCall('request', '2', 'echo', 1));
      await gone(peer);
    }
    expect(server.getStats().errorsByCode).toEqual({ MALFORMED_FRAME: 2 });
  });
});

describe('bytes of a codec from a hostile client', () => {
  const json = (body: object): Buffer => Buffer.from(JSON.stringify({ timestamp: null, ...body }));
  const packed = (head: Buffer, payload: Buffer, length = head.length): Buffer => {
    const size = Buffer.alloc(5, 1);
    size.writeUInt32BE(length, 1);
    return frame(Buffer.concat([size, head, payload]));
  };
  const REQUEST = json({ msg_type: 'request', request_id: '1', data: { type: 'echo', data: null } });
  const HELLO = message('heartbeat', '', null, { hello: { name: 'x', caps: ['codec:msgpack'] } });

  it.each([
    ['before it said hello', Buffer.alloc(0), packed(REQUEST, Buffer.from([0xc0]))],
    ['with a JSON longer than the frame', HELLO, packed(REQUEST, Buffer.from([0xc0]), 0xffff_ffff)],
    ['without JSON', HELLO, frame(Buffer.from([1, 0, 0, 0, 0, 0xc0]))],
    ['cut short', HELLO, frame(Buffer.from([1, 0]))],
    ['that are an extension', HELLO, packed(REQUEST, Buffer.from('d6ff00000000', 'hex'))],
    ['that announce four thousand million items', HELLO, packed(REQUEST, Buffer.from('ddffffffff', 'hex'))],
    ['nested a million deep', HELLO, packed(REQUEST, Buffer.alloc(1_000_000, 0x91))],
    [
      'in a message without a place for them',
      HELLO,
      packed(json({ msg_type: 'request', request_id: '1', data: 5 }), Buffer.from([0xc0])),
    ],
  ])('%s end its connection and no other', async (_, before, bytes) => {
    const { server, path } = await serve();
    const [bad, good] = [await RawPeer.connect({ path }), await RawPeer.connect({ path })];
    atEnd(() => good.destroy());
    await bad.send(before, bytes);
    await gone(bad);
    await good.send(request('2', 'echo', 'well'));
    expect(await nextResponse(good, '2')).toMatchObject({ data: 'well' });
    expect(server.getStats().errorsByCode).toEqual({ MALFORMED_FRAME: 1 });
  });
});

describe('exact integers', () => {
  it.each(['json', 'msgpack'] as const)('pass through both ends in %s', async (codec) => {
    const { server, connect } = await serve({ bigint: true, codec });
    const client = connect({ bigint: true, codec });
    const values = [2n ** 53n, -(2n ** 63n), 2n ** 64n - 1n, 10n ** 40n, 5];
    expect(await client.request('echo', { values })).toEqual({ values });
    const pushed = new Promise((resolve) => client.onPush('n', resolve));
    server.push('n', 2n ** 60n);
    expect(await pushed).toBe(2n ** 60n);
    const plain = connect();
    await expect(plain.request('echo', 1n)).rejects.toMatchObject({ code: 'UNENCODABLE_VALUE' });
    expect(await plain.request('echo', 2 ** 60)).toBe(2 ** 60);
  });
});
