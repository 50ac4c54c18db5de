import { NotJudged } from './verdict.js';
import { frame, KIT_CAPS, readObject, type Received } from './wire.js';

/** Compact frames written and read by hand. */

/** What the kit shows where it takes compact frames. */
export const COMPACT_CAPS: readonly string[] = [...KIT_CAPS, 'compact'];

const KINDS = ['request', 'push', 'response', 'more', 'end'] as const;
type Kind = (typeof KINDS)[number];
const FIRST_MARK = 0x02;

const LONGEST_TEXT = 127;
const ASCII = /^[\0-\x7f]*$/;

export function compactCall(kind: 'request' | 'push', id: string, type: string, data: unknown): Buffer {
  return frame(`${head(kind, id)}${sized(type)}${JSON.stringify(data)}`);
}

/** @param id of a request, which need not fit @throws NotJudged */
export function compactAnswer(kind: 'response' | 'more', id: unknown, data: unknown): Buffer {
  return frame(`${head(kind, id)}${JSON.stringify(data)}`);
}

/** As {@link compactAnswer}. */
export function compactEnd(id: unknown): Buffer {
  return frame(head('end', id));
}

export function isCompact({ bytes }: Received): boolean {
  return kindOf(bytes.subarray(4)) !== undefined;
}

/** The message in a body, as JSON would have it. Undefined if it is none. */
export function readBody(body: Buffer, mayBeCompact: boolean): Received['body'] | undefined {
  try {
    const kind = mayBeCompact ? kindOf(body) : undefined;
    return kind === undefined ? readObject(body) : readCompact(kind, body);
  } catch {
    return undefined;
  }
}

function readCompact(kind: Kind, body: Buffer): Received['body'] | undefined {
  const isCall = kind === 'request' || kind === 'push';
  const [id, idEnd] = readText(body, 1);
  const [type, start] = isCall ? readText(body, idEnd) : ['', idEnd];
  if (kind === 'end') {
    const message = { msg_type: 'response', request_id: id, data: null, end: true };
    return start === body.length ? message : undefined;
  }
  // Within an object, since what is read has to be one.
  const inner = readObject(Buffer.concat([Buffer.from('{"data":'), body.subarray(start), Buffer.from('}')]));
  if (isCall) return { msg_type: kind, request_id: id, data: { type, ...inner } };
  return { msg_type: 'response', request_id: id, ...inner, ...(kind === 'more' ? { more: true } : {}) };
}

function kindOf(body: Buffer): Kind | undefined {
  return KINDS[(body[0] ?? 0) - FIRST_MARK];
}

function head(kind: Kind, id: unknown): string {
  return `${String.fromCharCode(FIRST_MARK + KINDS.indexOf(kind))}${sized(id)}`;
}

function sized(text: unknown): string {
  if (typeof text !== 'string' || text.length > LONGEST_TEXT || !ASCII.test(text))
    throw new NotJudged(`the id ${JSON.stringify(text)} does not fit into a compact frame`);
  return `${String.fromCharCode(text.length)}${text}`;
}

/** A text behind its length, and where it ends. @throws RangeError if the body is shorter */
function readText(body: Buffer, position: number): [string, number] {
  const start = position + 1;
  const end = start + body.readUInt8(position);
  const text = body.toString('latin1', start, end);
  if (end > body.length || text.length > LONGEST_TEXT || !ASCII.test(text)) throw new RangeError('no text');
  return [text, end];
}
