import { frame, type WireMessage } from './frame.js';

/** Compact frames by hand; these tests share no codec with the library. */

const KINDS = ['request', 'push', 'response', 'more', 'end'] as const;
const FIRST_KIND = 2;
type Kind = (typeof KINDS)[number];
const FITS = /^[\0-\x7f]{0,127}$/;

const UTF8 = new TextDecoder('utf-8', { fatal: true });

/** What {@link readCompact} makes of a compact frame, beside what it says. */
export interface CompactMessage extends WireMessage {
  readonly isCompact: true;
}

export function compactCall(kind: 'request' | 'push', id: string, type: string, data: unknown): Buffer {
  return compact(kind, id, Buffer.concat([withLength(type), Buffer.from(JSON.stringify(data))]));
}

export function compactAnswer(kind: 'response' | 'more', id: string, data: unknown): Buffer {
  return compact(kind, id, Buffer.from(JSON.stringify(data)));
}

export function compactEnd(id: string): Buffer {
  return compact('end', id, Buffer.alloc(0));
}

/** A message in a compact frame, if one can say it. */
export function asCompact(body: Record<string, unknown>): Buffer | undefined {
  const { msg_type: type, request_id: id, data, timestamp: _, error, ...extras } = body;
  const says = Object.keys(extras).join();
  if (typeof id !== 'string' || !FITS.test(id) || error !== null) return undefined;
  if (type === 'request' || type === 'push') {
    const { type: name, data: inner } = data as Record<string, unknown>;
    return typeof name === 'string' && says === '' ? compactCall(type, id, name, inner) : undefined;
  }
  if (type !== 'response') return undefined;
  if (says === 'end') return data === null ? compactEnd(id) : undefined;
  return says === '' || says === 'more' ? compactAnswer(says || type, id, data) : undefined;
}

/** The message in a body; undefined if it is no compact one. @throws if it cannot be read */
export function readCompact(body: Buffer): CompactMessage | undefined {
  const kind = KINDS[(body[0] ?? 0) - FIRST_KIND];
  if (kind === undefined) return undefined;
  const [id, afterId] = readText(body, 1);
  const message = { request_id: id, timestamp: '', error: null, isCompact: true } as const;
  if (kind === 'end') {
    if (afterId !== body.length) throw new RangeError('The end of a stream has no payload');
    return { ...message, msg_type: 'response', data: null, end: true };
  }
  const isCall = kind === 'request' || kind === 'push';
  const [type, start] = isCall ? readText(body, afterId) : ['', afterId];
  const data = JSON.parse(UTF8.decode(body.subarray(start))) as unknown;
  if (isCall) return { ...message, msg_type: kind, data: { type, data } };
  return { ...message, msg_type: 'response', data, ...(kind === 'more' ? { more: true } : {}) };
}

function compact(kind: Kind, id: string, rest: Buffer): Buffer {
  return frame(Buffer.concat([Buffer.from([FIRST_KIND + KINDS.indexOf(kind)]), withLength(id), rest]));
}

function withLength(text: string): Buffer {
  return Buffer.from(`${String.fromCharCode(text.length)}${text}`);
}

function readText(body: Buffer, position: number): [string, number] {
  const start = position + 1;
  const end = start + body.readUInt8(position);
  if (end > body.length) throw new RangeError('The head is longer than the frame');
  return [body.toString('latin1', start, end), end];
}
