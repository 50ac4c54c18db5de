import { HEADER_BYTES, writeLength } from './frame-header.mjs';

const SLAB_BYTES = 64 * 1024;

/** Frames that may need more than this get a buffer of their own. */
const LARGE_BYTES = SLAB_BYTES / 4;

/** UTF-8 needs at most three bytes for one UTF-16 unit. */
const MOST_BYTES_PER_UNIT = 3;

/** A group of frames is written when it reaches this; the limit doubles with each such write of a tick. */
const FIRST_GROUP_BYTES = 2048;
const LAST_GROUP_BYTES = 8192;

/** A slab nobody uses. One is enough: a group outlives no tick, and few sockets have one in the same tick. */
let spareSlab = null;

/**
 * Writes frames to a socket in groups. The first frame of a tick goes out at once, so that an idle peer can start;
 * what follows in the same tick is gathered, in groups small enough to keep both processes busy at the same time.
 */
export class FrameWriter {
  #socket;
  #slab = null;
  #end = 0;
  #scheduled = false;
  #limit = FIRST_GROUP_BYTES;
  #endOfTick = () => {
    this.#scheduled = false;
    this.#limit = FIRST_GROUP_BYTES;
    if (this.#end > 0) this.#flush();
  };

  /** @param {import('node:net').Socket} socket */
  constructor(socket) {
    this.#socket = socket;
  }

  /** @param {string} text body of the frame, sent as UTF-8 */
  send(text) {
    const mostBytes = text.length * MOST_BYTES_PER_UNIT;
    if (mostBytes > LARGE_BYTES) {
      this.#sendLarge(text);
      return;
    }
    if (this.#end + HEADER_BYTES + mostBytes > SLAB_BYTES) this.#flush();
    if (this.#slab === null) {
      this.#slab = spareSlab ?? Buffer.allocUnsafeSlow(SLAB_BYTES);
      spareSlab = null;
    }
    const start = this.#end;
    const length = this.#slab.utf8Write(text, start + HEADER_BYTES, mostBytes);
    writeLength(this.#slab, start, length);
    this.#end = start + HEADER_BYTES + length;
    if (!this.#scheduled) {
      this.#schedule();
      this.#flush();
    } else if (this.#end >= this.#limit) {
      this.#flush();
      if (this.#limit < LAST_GROUP_BYTES) this.#limit *= 2;
    }
  }

  #schedule() {
    this.#scheduled = true;
    // Runs after the promise handlers of one 'data' event; setImmediate would hold back what is ready.
    process.nextTick(this.#endOfTick);
  }

  #flush() {
    const slab = this.#slab;
    const end = this.#end;
    this.#slab = null;
    this.#end = 0;
    this.#socket.write(slab.subarray(0, end));
    // Nothing waiting means that the kernel took everything during write(): the slab is free again.
    if (this.#socket.writableLength === 0) spareSlab = slab;
  }

  #sendLarge(text) {
    if (this.#end > 0) this.#flush();
    const length = Buffer.byteLength(text);
    const frame = Buffer.allocUnsafeSlow(HEADER_BYTES + length);
    writeLength(frame, 0, length);
    frame.utf8Write(text, HEADER_BYTES, length);
    this.#socket.write(frame);
  }
}
