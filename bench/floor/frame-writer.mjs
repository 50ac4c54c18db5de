import { encodeLargeText, LARGE_STRING_LENGTH } from '../support/our-tricks.mjs';
import { HEADER_BYTES, headerText, writeLength } from './frame-header.mjs';

/** A group of frames is written when it reaches this; the limit doubles with each such write of a tick. */
const FIRST_GROUP_BYTES = 1536;
const LAST_GROUP_BYTES = 8192;

const SLAB_BYTES = 64 * 1024;

/** Above this a string would be copied once more on its way to the kernel than a Buffer is. */
const LARGEST_TEXT_FRAME_BYTES = 16 * 1024;

/**
 * Writes frames to a socket in groups. The first frame of a tick goes out at once, so that an idle peer can start;
 * what follows in the same tick is gathered, in groups small enough to keep both processes busy at the same time.
 * Small ASCII frames stay strings of one byte per character, which are joined for nothing and written without a Buffer.
 */
export class FrameWriter {
  #socket;
  #text = '';
  #isScheduled = false;
  /** While the socket is backed up, bytes cost less than strings that have to live until they are written. */
  #slab = null;
  #slabEnd = 0;
  #limit = FIRST_GROUP_BYTES;
  #endOfTick = () => {
    this.#isScheduled = false;
    this.#limit = FIRST_GROUP_BYTES;
    this.#flush();
  };

  /** @param {import('node:net').Socket} socket */
  constructor(socket) {
    this.#socket = socket;
  }

  /** @param {string} head of the body, before its payload */
  sendValue(head, data) {
    if (typeof data !== 'string' || data.length < LARGE_STRING_LENGTH) this.send(head + JSON.stringify(data));
    else this.sendBytes(head, encodeLargeText(data).bytes);
  }

  /** A head and a payload that leaves as it is. */
  sendBytes(head, bytes) {
    this.#socket.cork();
    this.#write(Buffer.from(headerText(head.length + bytes.length) + head, 'latin1'));
    this.#socket.write(bytes);
    this.#socket.uncork();
  }

  /** @param {string} text body of the frame, sent as UTF-8 */
  send(text) {
    const frame = frameOf(text);
    if (typeof frame === 'string') this.sendFrame(frame);
    else this.#write(frame);
  }

  /** @param {string} frame one byte per character, header included */
  sendFrame(frame) {
    if (this.#slab !== null || this.#socket.writableLength > 0) {
      this.#pack(frame);
      return;
    }
    this.#text += frame;
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      // Runs after the promise handlers of one 'data' event; setImmediate would hold back what is ready.
      process.nextTick(this.#endOfTick);
      this.#flush();
    } else if (this.#text.length >= this.#limit) {
      this.#flush();
      if (this.#limit < LAST_GROUP_BYTES) this.#limit *= 2;
    }
  }

  #pack(frame) {
    if (this.#slabEnd + frame.length > SLAB_BYTES || this.#text !== '') this.#flush();
    this.#slab ??= Buffer.allocUnsafeSlow(SLAB_BYTES);
    this.#slabEnd += this.#slab.latin1Write(frame, this.#slabEnd, frame.length);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    process.nextTick(this.#endOfTick);
  }

  #flush() {
    if (this.#slab !== null) {
      this.#socket.write(this.#slab.subarray(0, this.#slabEnd));
      this.#slab = null;
      this.#slabEnd = 0;
    }
    if (this.#text === '') return;
    const text = this.#text;
    this.#text = '';
    this.#socket.write(text, 'latin1');
  }

  #write(bytes) {
    this.#flush();
    this.#socket.write(bytes);
  }
}

/** @returns {string | Buffer} a string if each of its characters is one byte and there are few of them */
export function frameOf(text) {
  const length = Buffer.byteLength(text);
  const isAscii = length === text.length;
  if (isAscii && length <= LARGEST_TEXT_FRAME_BYTES) return headerText(length) + text;
  const frame = Buffer.allocUnsafe(HEADER_BYTES + length);
  writeLength(frame, 0, length);
  if (isAscii) frame.latin1Write(text, HEADER_BYTES, length);
  else frame.utf8Write(text, HEADER_BYTES, length);
  return frame;
}
