export const HEADER_BYTES = 4;

/** A decoded frame, as it stands on the wire; nothing about it has been checked. */
export interface WireMessage {
  readonly msg_type: string;
  readonly request_id: string;
  readonly data: unknown;
  readonly timestamp: string;
  readonly error?: string | null;
  readonly [extension: string]: unknown;
}

/** Length prefix and body. A string or Buffer is the body as it is, valid or not; an object is written as JSON. */
export function frame(body: object | string | Buffer): Buffer {
  const bytes = Buffer.isBuffer(body)
    ? body
    : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(bytes.length);
  return Buffer.concat([header, bytes]);
}
