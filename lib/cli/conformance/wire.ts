/**
 * Frames written by hand. The kit shares no codec with the library: an error in one would else be invisible
 * through the other, and half of what it sends no codec would write.
 */

const HEADER_BYTES = 4;

/** A time like any other; readers do not look at it. */
const TIMESTAMP = '2024-01-02T03:04:05.000006';

/** How a writer forms it: local time, six decimals, or none where they are all 0. */
export const TIMESTAMP_FORM = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?$/;

export const BASE_KEYS: readonly string[] = ['msg_type', 'request_id', 'data', 'timestamp', 'error'];

/** What the kit shows, as a server and as a client. */
export const KIT_CAPS: readonly string[] = [
  'stream',
  'cancel',
  'deadline',
  'meta',
  'error_detail',
  'packet',
  'probe',
  'going_away',
];

/** Length and body. Text and bytes are the body as they are, JSON or not. */
export function frame(body: string | Buffer | object): Buffer {
  const bytes = Buffer.isBuffer(body)
    ? body
    : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(bytes.length);
  return Buffer.concat([header, bytes]);
}

export function message(msgType: string, id: unknown, data: unknown, extras: object = {}): Buffer {
  return frame({ msg_type: msgType, request_id: id, data, timestamp: TIMESTAMP, error: null, ...extras });
}

export function request(id: unknown, type: unknown, data: unknown, extras: object = {}): Buffer {
  return message('request', id, { type, data }, extras);
}

export function response(id: unknown, data: unknown, extras: object = {}): Buffer {
  return message('response', id, data, extras);
}

export function push(type: string, data: unknown): Buffer {
  return message('push', 'p', { type, data });
}

export function heartbeat(extras: object = {}): Buffer {
  return message('heartbeat', '', null, extras);
}

/** An `error` frame: with a request's id its cancel, with an empty one a notice. */
export function error(id: string, code: string): Buffer {
  return message('error', id, null, { error: code, error_detail: { code, message: code } });
}

/** One frame as it came. */
export interface Received {
  /** With the length. */
  readonly bytes: Buffer;
  readonly body: Record<string, unknown>;
}

/** Cuts what arrives into frames. What `read` makes nothing of is handed to `onBad` and not looked at again. */
export class FrameCutter {
  private pending = Buffer.alloc(0);

  constructor(
    private readonly read: (body: Buffer) => Received['body'] | undefined,
    private readonly onFrame: (received: Received) => void,
    private readonly onBad: (bytes: Buffer) => void,
  ) {}

  push(chunk: Buffer): void {
    this.pending = Buffer.concat([this.pending, chunk]);
    while (this.pending.length >= HEADER_BYTES) {
      const end = HEADER_BYTES + this.pending.readUInt32BE(0);
      if (this.pending.length < end) return;
      const bytes = this.pending.subarray(0, end);
      this.pending = this.pending.subarray(end);
      const body = this.read(bytes.subarray(HEADER_BYTES));
      if (body === undefined) this.onBad(bytes);
      else this.onFrame({ bytes, body });
    }
  }
}

const UTF8 = new TextDecoder('utf-8', { fatal: true });

/** Undefined if it is something else. @throws if it is no JSON */
export function readObject(bytes: Buffer): Record<string, unknown> | undefined {
  const value: unknown = JSON.parse(UTF8.decode(bytes));
  return isObject(value) ? value : undefined;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
