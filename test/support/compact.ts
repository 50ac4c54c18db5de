import { frame, type WireMessage } from './frame.js';

/** Compact frames by hand; these tests share no codec with the library. */

const KINDS = ['request', 'push', 'response', 'more', 'end'] as const;
const FIRST_KIND = 2;
type Kind = (typeof KINDS)[number];

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

/** The message in a body; undefined if it is no compact one. */
export function readCompact(body: Buffer): CompactMessage | undefined {
  const kind = KINDS[(body[0] ?? 0) - FIRST_KIND];
  if (kind === undefined) return undefined;
  const [id, afterId] = readText(body, 1);
  const message = { request_id: id, timestamp: '', error: null, isCompact: true } as const;
  if (kind === 'end') return { ...message, msg_type: 'response', data: null, end: true };
  const isCall = kind === 'request' || kind === 'push';
  const [type, start] = isCall ? readText(body, afterId) : ['', afterId];
  const data = JSON.parse(body.toString('utf8', start)) as unknown;
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
  const end = start + (body[position] as number);
  return [body.toString('latin1', start, end), end];
}
