import { isAscii } from 'node:buffer';

import { decodeValue, LARGE_STRING_LENGTH } from '../support/our-tricks.mjs';
import { HEADER_BYTES, readLength, writeLength } from './frame-header.mjs';

const JSON_START = 0x7b;
/** What one read brings at most. */
const LARGEST_CHUNK = 65_537;

/**
 * Cuts a byte stream into the messages of its frames. The complete frames of a chunk are decoded together: one check for
 * ASCII and one latin1 decode for all of them is cheaper than a UTF-8 decode each.
 */
export class FrameReader {
  #onMessage;
  #onBinary;
  /** Chunks of a frame that is not complete, and how many bytes they hold. */
  #partial = [];
  #partialBytes = 0;
  #neededBytes = 0;
  #ends = [];

  /**
   * @param {(message: object) => void} onMessage called once per frame
   * @param {(body: Buffer) => void} onBinary called for a frame that does not begin as JSON does
   */
  constructor(onMessage, onBinary) {
    this.#onMessage = onMessage;
    this.#onBinary = onBinary;
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
      if (chunk[body] !== JSON_START) this.#onBinary(chunk.subarray(body, end));
      else if (end - body > LARGE_STRING_LENGTH) this.#onMessage(decodeValue(chunk, body, end));
      else
        this.#onMessage(JSON.parse(text === null ? readText(chunk, body, end) : text.substring(body, end)));
    }
  }
}

/** Of a frame among others that are not all ASCII. */
function readText(bytes, start, end) {
  return isAscii(bytes.subarray(start, end)) ? bytes.latin1Slice(start, end) : bytes.utf8Slice(start, end);
}
