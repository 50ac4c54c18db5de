import {
  createError,
  createHeartbeat,
  createPush,
  createRequest,
  createResponse,
  isMessageBody,
  isRecord,
  MessageType,
  readPayload,
} from '../../../lib/protocol/message-body.js';

const TIMESTAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/;
const UUID_V4 = /^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/;

describe('message builders', () => {
  it.each([
    ['request', createRequest({ type: 'echo', data: 1 }, 'r1'), 'r1', { type: 'echo', data: 1 }, null],
    ['response', createResponse({ a: 1 }, 'r1'), 'r1', { a: 1 }, null],
    ['response', createResponse(undefined, 'r1'), 'r1', null, null],
    ['response', createResponse(0, 'r1'), 'r1', 0, null],
    ['response', createResponse({ dropped: 1 }, 'r1', 'boom'), 'r1', null, 'boom'],
    ['response', createResponse(1, 'r1', ''), 'r1', 1, null],
    ['heartbeat', createHeartbeat(), '', null, null],
    ['push', createPush('tick', [1], 'p1'), 'p1', { type: 'tick', data: [1] }, null],
    ['error', createError('boom'), '', null, 'boom'],
    ['error', createError('boom', 'r1'), 'r1', null, 'boom'],
  ])('build the %s the original would: %#', (type, body, id, data, error) => {
    expect(body).toEqual({
      msg_type: type,
      request_id: id,
      data,
      timestamp: expect.stringMatching(TIMESTAMP),
      error,
    });
    expect(Object.keys(body)).toEqual(['msg_type', 'request_id', 'data', 'timestamp', 'error']);
    expect(isMessageBody(body)).toBe(true);
  });

  it('make an id of their own for requests and pushes', () => {
    const ids = [
      createRequest({ type: 'a', data: 1 }).request_id,
      createRequest({ type: 'a', data: 1 }).request_id,
      createPush('a', 1).request_id,
    ];
    expect(ids).toEqual(ids.map(() => expect.stringMatching(UUID_V4)));
    expect(new Set(ids).size).toBe(3);
  });
});

describe('isMessageBody', () => {
  const message = { msg_type: 'request', request_id: '', data: null, timestamp: '' };

  it.each(Object.values(MessageType))('takes the type %s', (type) => {
    expect(isMessageBody({ ...message, msg_type: type })).toBe(true);
  });

  it.each<[string, unknown]>([
    ['null values', { ...message, request_id: null, timestamp: null, error: null }],
    ['values of other types', { ...message, request_id: { a: 1 }, data: [], timestamp: 5, error: 1 }],
    ['keys it does not know', { ...message, foo: 1 }],
  ])('takes %s', (_, body) => {
    expect(isMessageBody(body)).toBe(true);
  });

  it.each<[string, unknown]>([
    ['no msg_type', { ...message, msg_type: undefined }],
    ['an unknown msg_type', { ...message, msg_type: 'subscribe' }],
    ['msg_type in capitals', { ...message, msg_type: 'REQUEST' }],
    ['a null msg_type', { ...message, msg_type: null }],
    ['a msg_type that is a list', { ...message, msg_type: ['request'] }],
    ['the name of a method as msg_type', { ...message, msg_type: 'toString' }],
    ['no request_id', { ...message, request_id: undefined }],
    ['no data', { ...message, data: undefined }],
    ['no timestamp', { ...message, timestamp: undefined }],
    ['all of it below "__proto__"', JSON.parse(`{"__proto__":${JSON.stringify(message)}}`)],
    ['null', null],
    ['a string', 'request'],
    ['a number', 5],
    ['a list', [message]],
    ['bytes', Buffer.from('request')],
  ])('refuses %s', (_, value) => {
    expect(isMessageBody(value)).toBe(false);
  });
});

describe('readPayload', () => {
  it.each<[unknown, unknown, unknown]>([
    [{ type: 'echo', data: 1 }, 'echo', 1],
    [{ type: 'echo', data: null }, 'echo', null],
    [{ type: 'echo' }, 'echo', {}],
    [{ data: 1 }, undefined, 1],
    [{ type: ['echo'], data: 1 }, ['echo'], 1],
    ['echo', undefined, {}],
    [null, undefined, {}],
    [[{ type: 'echo' }], undefined, {}],
    [Buffer.from('echo'), undefined, {}],
    [JSON.parse('{"__proto__":{"type":"echo","data":1}}'), undefined, {}],
  ])('reads %j', (data, type, inner) => {
    expect(readPayload(data)).toEqual({ type, data: inner });
  });
});

describe('isRecord', () => {
  it.each([
    [{}, true],
    [Object.create(null), true],
    [[], false],
    [null, false],
    ['', false],
    [Buffer.alloc(1), false],
  ])('tells whether %p is a plain object: %p', (value, verdict) => {
    expect(isRecord(value)).toBe(verdict);
  });
});
