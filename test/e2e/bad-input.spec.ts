import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import type { UnixSocketClientProxy, UnixSocketServer, UnixSocketServerOptions } from 'nestjs-unix-socket';
import { atEnd } from '../support/at-end.js';
import { frame, RawPeer, type Address } from '../support/frames.js';
import { LogSpy } from '../support/log-spy.js';
import {
  freeAddress,
  makeClient,
  startNestServer,
  TRANSPORTS,
  type Transport,
} from '../support/nest-server.js';
import { hello, message, nextResponse, request } from '../support/wire.js';

const MESSAGE = { msg_type: 'request', request_id: 'r', data: { type: 'echo', data: 1 }, timestamp: null };
const { msg_type: _type, ...noType } = MESSAGE;
const { request_id: _id, ...noId } = MESSAGE;
const { data: _data, ...noData } = MESSAGE;
const { timestamp: _timestamp, ...noTimestamp } = MESSAGE;

/** The body of a request for `echo` whose data is this text. */
function echoOf(json: string): string {
  return `{"msg_type":"request","request_id":"r","timestamp":null,"data":{"type":"echo","data":${json}}}`;
}

function nested(open: string, levels: number, core: string, close: string): string {
  return open.repeat(levels) + core + close.repeat(levels);
}

/** What a bad peer sends, and the code under which its end is counted. */
const OFFENCES: readonly (readonly [what: string, bytes: Buffer | string, code: string])[] = [
  ['a frame without a body', frame(''), 'MALFORMED_FRAME'],
  ['a length of 4 GiB', Buffer.from('ffffffff', 'hex'), 'FRAME_TOO_LARGE'],
  ['a length just above the limit', Buffer.from('01000001', 'hex'), 'FRAME_TOO_LARGE'],
  ['a request of HTTP', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n', 'FRAME_TOO_LARGE'],
  ['a hello of TLS', Buffer.from('16030100c8010000c40303', 'hex'), 'FRAME_TOO_LARGE'],
  ['half a frame, then silence', frame(MESSAGE).subarray(0, 20), 'FRAME_TIMEOUT'],
  ['half a header, then silence', Buffer.from([0, 0]), 'FRAME_TIMEOUT'],
  ['invalid UTF-8', frame(Buffer.from(echoOf('"\xff"'), 'latin1')), 'MALFORMED_FRAME'],
  ['invalid JSON', frame('{nope'), 'MALFORMED_FRAME'],
  ['JSON with something behind it', frame(`${echoOf('1')}x`), 'MALFORMED_FRAME'],
  ['a list', frame('[1]'), 'MALFORMED_FRAME'],
  ['a string', frame('"s"'), 'MALFORMED_FRAME'],
  ['a number', frame('5'), 'MALFORMED_FRAME'],
  ['null', frame('null'), 'MALFORMED_FRAME'],
  ['an empty object', frame('{}'), 'MALFORMED_FRAME'],
  ['an unknown msg_type', frame({ ...MESSAGE, msg_type: 'subscribe' }), 'MALFORMED_FRAME'],
  ['a msg_type in capitals', frame({ ...MESSAGE, msg_type: 'REQUEST' }), 'MALFORMED_FRAME'],
  ['a msg_type that is an object', frame({ ...MESSAGE, msg_type: {} }), 'MALFORMED_FRAME'],
  ['the msg_type "__proto__"', frame({ ...MESSAGE, msg_type: '__proto__' }), 'MALFORMED_FRAME'],
  ['no msg_type', frame(noType), 'MALFORMED_FRAME'],
  ['no request_id', frame(noId), 'MALFORMED_FRAME'],
  ['no data', frame(noData), 'MALFORMED_FRAME'],
  ['no timestamp', frame(noTimestamp), 'MALFORMED_FRAME'],
  ['a message below the key "__proto__"', frame(`{"__proto__":${echoOf('1')}}`), 'MALFORMED_FRAME'],
  [
    'a frame of V1 behind one of V2',
    Buffer.concat([
      frame({ ...MESSAGE, msg_type: 'response' }),
      frame({ type: 'echo', request_id: 'r', data: {} }),
    ]),
    'MALFORMED_FRAME',
  ],
  [
    'a frame of V2 behind one of V1',
    Buffer.concat([frame({ type: 'echo', data: {} }), frame({ ...MESSAGE, msg_type: 'response' })]),
    'MALFORMED_FRAME',
  ],
  ['bytes of a codec', frame(Buffer.from([1, 0, 0, 0, 0])), 'MALFORMED_FRAME'],
  ['100,000 nested lists', frame(echoOf(nested('[', 100_000, '', ']'))), 'MALFORMED_FRAME'],
  ['100,000 nested objects', frame(echoOf(nested('{"a":', 100_000, '1', '}'))), 'MALFORMED_FRAME'],
  ['100,000 nested lists that do not end', frame('['.repeat(100_000)), 'MALFORMED_FRAME'],
  ['binary that is no hexadecimal', frame(echoOf('{"__bytes__":"zz"}')), 'MALFORMED_FRAME'],
  ['binary for the whole message', frame('{"__bytes__":"00"}'), 'MALFORMED_FRAME'],
  ['text made to be slow to search', frame(`[NaN,"${'\\"'.repeat(500_000)}`), 'MALFORMED_FRAME'],
  ['a good request and then rubbish', Buffer.concat([frame(MESSAGE), frame('{nope')]), 'MALFORMED_FRAME'],
];

const UNKNOWN = { data: null, error: 'Unknown request type' };
const DEEP_TYPE = nested('{"a":', 20_000, '1', '}');

/** Odd, but a message: it is answered, and its connection goes on. */
const ODDITIES: readonly (readonly [what: string, body: string | object, answer: object])[] = [
  ['the type "__proto__"', { ...MESSAGE, data: { type: '__proto__', data: 1 } }, UNKNOWN],
  ['the type "constructor"', { ...MESSAGE, data: { type: 'constructor', data: 1 } }, UNKNOWN],
  ['the type "toString"', { ...MESSAGE, data: { type: 'toString', data: 1 } }, UNKNOWN],
  ['a type that is half an object', { ...MESSAGE, data: { type: '{"a":', data: 1 } }, UNKNOWN],
  ['a type that is a deep object', { ...MESSAGE, data: { type: DEEP_TYPE, data: 1 } }, UNKNOWN],
  [
    'a type that is an object of "__proto__"',
    { ...MESSAGE, data: { type: '{"__proto__":{"a":1}}', data: 1 } },
    UNKNOWN,
  ],
  ['a type that is a list', { ...MESSAGE, data: { type: ['echo'], data: 1 } }, UNKNOWN],
  ['a type that is an object', { ...MESSAGE, data: { type: { toString: 1, valueOf: 1 }, data: 1 } }, UNKNOWN],
  ['a type that is null', { ...MESSAGE, data: { type: null, data: 1 } }, UNKNOWN],
  ['no type', { ...MESSAGE, data: { data: 1 } }, UNKNOWN],
  ['data that is a string', { ...MESSAGE, data: 'echo' }, UNKNOWN],
  ['data that is a list', { ...MESSAGE, data: ['echo'] }, UNKNOWN],
  [
    'the type below the key "__proto__"',
    echoOf('1').replace('"data":{', '"data":{"__proto__":{"type":"x"},'),
    { data: { echo: 1 } },
  ],
  [
    'the payload below the key "__proto__"',
    { ...MESSAGE, data: JSON.parse('{"__proto__":{"type":"echo"}}') as object },
    UNKNOWN,
  ],
  ['a number as id', { ...MESSAGE, request_id: 5 }, { request_id: 5, data: { echo: 1 } }],
  ['null as id', { ...MESSAGE, request_id: null }, { request_id: null, data: { echo: 1 } }],
  ['an object as id', { ...MESSAGE, request_id: { a: [1] } }, { request_id: { a: [1] }, data: { echo: 1 } }],
  ['a list as id', { ...MESSAGE, request_id: ['r'] }, { request_id: ['r'], data: { echo: 1 } }],
  ['true as id', { ...MESSAGE, request_id: true }, { request_id: true, data: { echo: 1 } }],
  [
    'binary as id',
    { ...MESSAGE, request_id: { __bytes__: 'FF' } },
    { request_id: { __bytes__: 'ff' }, data: { echo: 1 } },
  ],
  ['a number too large', echoOf('1e400'), { data: { echo: null } }],
  ['a number of 5,000 digits', echoOf('1'.repeat(5_000)), { data: { echo: null } }],
  ['a bare NaN', echoOf('NaN'), { data: { echo: null } }],
  [
    'a result too deep to send',
    echoOf(nested('[', 990, '', ']')),
    { data: null, error: expect.stringMatching('nested deeper') },
  ],
  [
    'extensions of the wrong kind',
    { ...MESSAGE, meta: 5, deadline_ms: 'soon', packet: 'yes', more: 1, end: 1, probe: {}, hello: [] },
    { data: { echo: 1 } },
  ],
  ['a deadline below zero', { ...MESSAGE, deadline_ms: -1 }, { data: { echo: 1 } }],
  [
    'metadata named "__proto__"',
    { ...MESSAGE, meta: JSON.parse('{"__proto__":"x"}') as object },
    { data: { echo: 1 } },
  ],
];

/** Frames nobody answers; the connection goes on. */
const IGNORED: readonly (readonly [what: string, body: object])[] = [
  ['a response', { ...MESSAGE, msg_type: 'response' }],
  ['a response with an object as id', { ...MESSAGE, msg_type: 'response', request_id: {} }],
  ['an error', { ...MESSAGE, msg_type: 'error', error: 'e' }],
  ['an error with an object as id', { ...MESSAGE, msg_type: 'error', request_id: {}, error: {} }],
  ['an event', { ...MESSAGE, msg_type: 'push', data: { type: 'unheard', data: 1 } }],
  ['an event with an odd type', { ...MESSAGE, msg_type: 'push', data: { type: { toString: 1 }, data: 1 } }],
  ['an event that its handler knows', { ...MESSAGE, msg_type: 'push', data: { type: 'heard', data: 1 } }],
  [
    'a heartbeat with an odd hello',
    { ...MESSAGE, msg_type: 'heartbeat', hello: { name: 5, caps: {} }, probe_ack: [] },
  ],
];

@Controller()
class TestController {
  @MessagePattern('echo')
  echo(@Payload() data: unknown): object {
    return { echo: data };
  }

  @EventPattern('heard')
  heard(@Payload() _data: unknown): void {}
}

interface Stage {
  readonly server: UnixSocketServer;
  readonly address: Address;
  readonly logs: LogSpy;
  readonly neighbour: UnixSocketClientProxy;
  /** A call of the neighbour that is under way; ends with this function. */
  finishHeld(): void;
  readonly held: Promise<unknown>;
  /** The cause with which the server ends the connection `id`. */
  endOf(id: string): Promise<Error | undefined>;
}

/** A server with a neighbour on it whose call is under way. */
async function setStage(
  transport: Transport,
  options: Partial<UnixSocketServerOptions> = {},
): Promise<Stage> {
  const { app, server, address } = await startNestServer(
    { controllers: [TestController] },
    { ...freeAddress(transport), frameTimeoutMs: 60, ...options },
  );
  let finishHeld = (): void => {};
  server.handle('held', () => new Promise((resolve) => (finishHeld = () => resolve('finished'))));
  const neighbour = makeClient({ ...address });
  await neighbour.connect();
  const held = neighbour.request('held', null);
  held.catch(() => {});
  await neighbour.request('echo', 'the call before has started');
  const waiting = new Map<string, (cause: Error | undefined) => void>();
  server.on('disconnect', ({ id }, cause) => waiting.get(id)?.(cause));
  return {
    server,
    address,
    logs: LogSpy.over(app),
    neighbour,
    held,
    finishHeld: () => finishHeld(),
    endOf: (id) => new Promise((resolve) => waiting.set(id, resolve)),
  };
}

/** A connection, and the id that the server gave it. */
async function open(address: Address): Promise<{ peer: RawPeer; id: string }> {
  const peer = await RawPeer.connect(address);
  atEnd(() => peer.destroy());
  const { data } = await peer.next();
  return { peer, id: (data as { conn_id: string }).conn_id };
}

/** The neighbour and its call that was under way have noticed nothing. */
async function expectUntouched({ neighbour, held, finishHeld }: Stage): Promise<void> {
  finishHeld();
  expect(await held).toBe('finished');
  const { state, reconnects, failuresByCode } = neighbour.getStats();
  expect({ state, reconnects, failuresByCode }).toEqual({
    state: 'ready',
    reconnects: 0,
    failuresByCode: {},
  });
}

describe.each(TRANSPORTS)('over %s', (transport) => {
  it.each(OFFENCES)('ends the connection of a peer that sends %s, and no other', async (_, bytes, code) => {
    const stage = await setStage(transport);
    const { server, address, logs, neighbour } = stage;
    const { peer, id } = await open(address);
    const end = stage.endOf(id);
    const before = server.getStats();

    const calls = Array.from({ length: 20 }, (_unused, i) => neighbour.request('echo', i));
    await peer.send(bytes);
    const cause = await end;

    expect(cause).toMatchObject({ code });
    expect(await Promise.all(calls)).toEqual(calls.map((_unused, i) => ({ echo: i })));
    const { errors, errorsByCode, activeConnections } = server.getStats();
    expect({ errors: errors - before.errors, errorsByCode, activeConnections }).toEqual({
      errors: 1,
      errorsByCode: { [code]: 1 },
      activeConnections: 1,
    });
    expect(logs.about(id)).toEqual([`warn Client ${id} disconnected: ${cause?.message}`]);
    expect(logs.lines.filter((line) => !line.startsWith('debug'))).toHaveLength(1);
    await expectUntouched(stage);
  });

  it('answers what is odd and still a message, and goes on', async () => {
    const stage = await setStage(transport);
    const { server, address, logs } = stage;
    for (const [what, body, answer] of ODDITIES) {
      const { peer, id } = await open(address);
      await peer.send(frame(body));
      const received = await peer.next();
      expect([what, received]).toEqual([what, expect.objectContaining({ msg_type: 'response', ...answer })]);
      await expectAlive(peer, what);
      expect([what, logs.about(id)]).toEqual([what, []]);
    }
    expect(({} as Record<string, unknown>)['a']).toBeUndefined();
    // The one result that could not be sent.
    expect(server.getStats().errorsByCode).toEqual({ UNENCODABLE_VALUE: 1 });
    await expectUntouched(stage);
  });

  it('says nothing to what needs no answer, and goes on', async () => {
    const stage = await setStage(transport);
    const { server, address } = stage;
    for (const [what, body] of IGNORED) {
      const { peer } = await open(address);
      await peer.send(frame(body));
      await expectAlive(peer, what);
      const others = peer.received.slice(1, -1).filter(({ msg_type: type }) => type !== 'heartbeat');
      expect([what, others]).toEqual([what, []]);
    }
    expect(server.getStats().errorsByCode).toEqual({});
    await expectUntouched(stage);
  });

  it('keeps "__proto__" a key like any other on its way to a handler and back', async () => {
    const { server, address } = await setStage(transport);
    let seen: unknown;
    server.handle('keep', (data: unknown) => (seen = data));
    const { peer } = await open(address);
    await peer.send(
      frame(echoOf('{"a":{"__proto__":{"polluted":1}},"b":{"__bytes__":"00"}}').replace('echo', 'keep')),
    );
    const { data } = await peer.next();
    expect(JSON.stringify(data)).toBe('{"a":{"__proto__":{"polluted":1}},"b":{"__bytes__":"00"}}');
    expect(Object.getPrototypeOf((seen as { a: object }).a)).toBe(Object.prototype);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  it('tells the handlers of a peer that turns bad that nobody waits any more', async () => {
    const { server, address } = await setStage(transport);
    const aborted = new Promise((resolve) => {
      server.handle('watch', (_data, { signal }) => {
        signal.addEventListener('abort', () => resolve(signal.reason));
        return new Promise(() => {});
      });
    });
    const { peer } = await open(address);
    await peer.send(request('r', 'watch', null), frame('{nope'));
    expect(await aborted).toMatchObject({ code: 'MALFORMED_FRAME' });
  });

  it('stands a hundred bad peers at once', async () => {
    const stage = await setStage(transport);
    const { server, address, logs } = stage;
    const opened = await Promise.all(Array.from({ length: 100 }, () => open(address)));
    const ends = opened.map(({ id }) => stage.endOf(id));
    await Promise.all(
      opened.map(({ peer }, i) => peer.send(i % 2 === 0 ? frame('{nope') : Buffer.alloc(4, 0xff))),
    );
    await Promise.all(ends);
    expect(server.getStats()).toMatchObject({
      activeConnections: 1,
      errors: 100,
      errorsByCode: { MALFORMED_FRAME: 50, FRAME_TOO_LARGE: 50 },
    });
    expect(opened.map(({ id }) => logs.about(id).length)).toEqual(Array(100).fill(1));
    await expectUntouched(stage);
  });
});

it('ends a waiting call with an odd type at its deadline', async () => {
  // The type was once made a string for a message, out of a timer: the process ended.
  const { server, address } = await startNestServer(
    { controllers: [TestController] },
    { ...freeAddress('unix'), handling: 'sequential' },
  );
  let finish = (): void => {};
  const started = new Promise<void>((resolveStarted) => {
    server.handle('held', () => {
      resolveStarted();
      return new Promise((resolve) => (finish = () => resolve('finished')));
    });
  });
  const { peer } = await open(address);
  await peer.send(
    hello(),
    request('first', 'held', null),
    message('request', 'odd', { type: { toString: 1, valueOf: 1 } }, { deadline_ms: 20 }),
  );
  await started;
  // The deadline is passed once this timer fires, which was set later and for longer.
  await new Promise((resolve) => setTimeout(resolve, 40));
  finish();
  expect(await nextResponse(peer, 'first')).toMatchObject({ data: 'finished' });
  await expectAlive(peer, 'still');
  expect(peer.received.map(({ request_id: id }) => id)).not.toContain('odd');
});

/** An ordinary request is answered still. */
async function expectAlive(peer: RawPeer, what: string): Promise<void> {
  await peer.send(request('alive', 'echo', what));
  expect(await nextResponse(peer, 'alive')).toMatchObject({ data: { echo: what }, error: null });
}
