import { isAscii } from 'node:buffer';

import { decodeValue, LARGE_STRING_LENGTH } from '../support/our-tricks.mjs';
import { BINARY, END, RESPONSE } from './envelope.mjs';
import { HEADER_BYTES, readLength, writeLength } from './frame-header.mjs';

/** What one read brings at most. */
const LARGEST_CHUNK = 65_537;

/**
 * Cuts a byte stream into the messages of its frames. The complete frames of a chunk are decoded together: one check for
 * ASCII and one latin1 decode for all of them is cheaper than a UTF-8 decode each.
 */
export class FrameReader {
  #onMessage;
  /** Chunks of a frame that is not complete, and how many bytes they hold. */
  #partial = [];
  #partialBytes = 0;
  #neededBytes = 0;
  #ends = [];

  /** @param {(kind: number, id: string, type: string, data: unknown) => void} onMessage once per frame */
  constructor(onMessage) {
    this.#onMessage = onMessage;
  }

  /** @param {Buffer} chunk is changed: it must belong to the reader alone */
  push(chunk) {
    if (this.#partialBytes > 0) {
      this.#partial.push(chunk);
      this.#partialBytes += chunk.length;
      // A large frame is joined once, when all of it is there.
      if (this.#partialBytes < this.#neededBytes) return;
      chunk = Buffer.concat(this.#partial, this.#partialBytes);
      this.#partial = [];
      this.#partialBytes = 0;
    }
    const complete = this.#findEnds(chunk);
    if (complete < chunk.length) this.#keep(chunk.subarray(complete));
    if (complete > 0) this.#decode(chunk, complete);
  }

  /** Notes where each complete frame ends and blanks the headers, whose bytes may be anything but ASCII. */
  #findEnds(chunk) {
    const ends = this.#ends;
    ends.length = 0;
    let position = 0;
    while (chunk.length - position >= HEADER_BYTES) {
      const end = position + HEADER_BYTES + readLength(chunk, position);
      if (end > chunk.length) break;
      writeLength(chunk, position, 0);
      ends.push(end);
      position = end;
    }
    return position;
  }

  #keep(rest) {
    this.#partial.push(rest);
    this.#partialBytes = rest.length;
    this.#neededBytes = HEADER_BYTES + (rest.length >= HEADER_BYTES ? readLength(rest, 0) : 0);
  }

  #decode(chunk, complete) {
    const ends = this.#ends;
    // Large ones are read by themselves.
    const whole = complete === chunk.length ? chunk : chunk.subarray(0, complete);
    const text = complete < LARGEST_CHUNK && isAscii(whole) ? whole.latin1Slice(0, complete) : null;
    let start = 0;
    for (let i = 0; i < ends.length; i++) {
      const end = ends[i];
      const body = start + HEADER_BYTES;
      start = end;
      const kind = chunk[body] & ~BINARY;
      const idEnd = body + 2 + chunk[body + 1];
      const payload = kind < RESPONSE ? idEnd + 1 + chunk[idEnd] : idEnd;
      const isText = text !== null && chunk[body] === kind && end - body <= LARGE_STRING_LENGTH;
      const id = isText ? text.substring(body + 2, idEnd) : chunk.latin1Slice(body + 2, idEnd);
      let type = '';
      if (payload > idEnd)
        type = isText ? text.substring(idEnd + 1, payload) : chunk.latin1Slice(idEnd + 1, payload);
      let data = null;
      if (kind === END) data = null;
      else if (isText) data = JSON.parse(text.substring(payload, end));
      else if (chunk[body] !== kind) data = chunk.subarray(payload, end);
      else if (end - payload > LARGE_STRING_LENGTH) data = decodeValue(chunk, payload, end);
      else data = JSON.parse(readText(chunk, payload, end));
      this.#onMessage(kind, id, type, data);
    }
  }
}

/** Of a frame among others that are not all ASCII. */
function readText(bytes, start, end) {
  return isAscii(bytes.subarray(start, end)) ? bytes.latin1Slice(start, end) : bytes.utf8Slice(start, end);
}
