import { isAscii } from 'node:buffer';
import { FrameTooLargeError } from '../errors/protocol.errors.js';

/**
 * A frame: 4 bytes body length (unsigned, big-endian, not counting itself), then the body.
 *
 *     | length: u32 be | body: `length` bytes, one JSON object in UTF-8 |
 */
export const HEADER_BYTES = 4;

/** Up to this size a partial frame gets its whole room at once; beyond, room grows with what really came. */
const EAGER_FRAME_BYTES = 64 * 1024;
/** As much where every piece is copied, which only clients do, who have one server each. */
const EAGER_LENT_BYTES = 1024 * 1024;
/** Pieces of this size are kept as they are, and joined once the frame is whole; smaller ones are copied as they come. */
const KEPT_PIECE_BYTES = 16 * 1024;
const SMALLEST_ROOM_BYTES = 64;
/** Room for what is copied grows so much at a time; more where all is copied, since each growth copies it again. */
const GROWTH = 2;
const LENT_GROWTH = 4;

/** Where frames are read together: the chunk itself may belong to somebody else. As much as one read of a socket brings. */
const scratch = Buffer.allocUnsafeSlow(64 * 1024);
const BLANKS = 0x20202020;
/** Larger ones, on the average, are read by themselves. */
const SMALL_FRAME_BYTES = 2 * 1024;

/** Receives one body: the bytes `start` to `end` of `bytes`, valid only during the call. */
export interface FrameSink {
  /** @param text of the body, if it has been read already */
  onFrame(bytes: Buffer, start: number, end: number, text: string | undefined): void;
}

/**
 * Cuts a byte stream into frames. Bodies that arrive whole are handed on as ranges of the chunk, uncopied;
 * of a frame cut by a chunk's end large pieces are kept and joined at last, and small ones copied into a buffer that
 * grows geometrically, so that the cost stays linear and memory within twice what was received, four times
 * where chunks are lent, whatever the header claims beyond the sizes above.
 */
export class FrameReader {
  /** Pieces of the partial frame, and behind them what has been copied. */
  private kept: Buffer[] = [];
  private keptBytes = 0;
  private partial: Buffer | undefined;
  private partialBytes = 0;
  /** Bytes of the partial frame, header included, as far as known: the header's own size before it is complete. */
  private neededBytes = HEADER_BYTES;
  private stopped = false;
  /** Of the present chunk. */
  private isLent = false;

  /** @param maxFrameBytes limit on a body, checked on its declared length, before anything is stored */
  constructor(
    private readonly sink: FrameSink,
    private readonly maxFrameBytes: number,
  ) {}

  /** Whether a frame has begun and not ended. */
  get hasPartialFrame(): boolean {
    return this.partialBytes > 0;
  }

  /** What the frame that has begun still lacks, as far as known. */
  get missingBytes(): number {
    return this.partialBytes === 0 ? 0 : this.neededBytes - this.partialBytes;
  }

  /**
   * Hands every body completed by `chunk` to the sink, in order.
   * @param isLent whether the chunk is somebody else's afterwards: what is kept of it is copied
   * @throws FrameTooLargeError: end the connection
   */
  push(chunk: Buffer, isLent = false): void {
    if (this.stopped) return;
    this.isLent = isLent;
    let position = this.partialBytes > 0 ? this.completePartial(chunk) : 0;
    const size = chunk.length;
    const first = position;
    const text = this.stopped ? undefined : readFrames(chunk, first);
    while (!this.stopped && size - position >= HEADER_BYTES) {
      const start = position + HEADER_BYTES;
      const end = start + this.bodyLength(chunk, position);
      if (end > size) break;
      position = end;
      this.sink.onFrame(chunk, start, end, text?.substring(start - first, end - first));
    }
    if (!this.stopped && position < size) this.collect(chunk, position);
  }

  /** No more frames are handed on, not even the rest of the chunk at hand. */
  stop(): void {
    this.stopped = true;
    this.clear();
  }

  /** Returns the position in `chunk` behind the partial frame, or the chunk's end if it is still not complete. */
  private completePartial(chunk: Buffer): number {
    let position = 0;
    while (this.partialBytes < this.neededBytes) {
      if (position === chunk.length) return position;
      position = this.collect(chunk, position);
    }
    const bytes = this.joined();
    const end = this.neededBytes;
    this.clear();
    this.sink.onFrame(bytes, HEADER_BYTES, end, undefined);
    return position;
  }

  /** Takes what the partial frame still needs from `chunk`; returns the position behind it. */
  private collect(chunk: Buffer, position: number): number {
    const end = Math.min(chunk.length, position + this.neededBytes - this.partialBytes);
    const size = end - position;
    if (size >= KEPT_PIECE_BYTES && !this.isLent) {
      this.keep(chunk.subarray(position, end));
      return end;
    }
    const copied = this.partialBytes - this.keptBytes;
    this.reserve(copied + size);
    chunk.copy(this.partial as Buffer, copied, position, end);
    this.partialBytes += size;
    if (this.partialBytes === HEADER_BYTES && this.neededBytes === HEADER_BYTES) {
      this.neededBytes += this.bodyLength(this.partial as Buffer, 0);
      if (end < chunk.length && this.neededBytes > HEADER_BYTES) return this.collect(chunk, end);
    }
    return end;
  }

  private keep(piece: Buffer): void {
    const copied = this.partialBytes - this.keptBytes;
    if (copied > 0) this.kept.push((this.partial as Buffer).subarray(0, copied));
    this.partial = undefined;
    this.kept.push(piece);
    this.partialBytes += piece.length;
    this.keptBytes = this.partialBytes;
  }

  private joined(): Buffer {
    const { partial, kept } = this;
    if (kept.length === 0) return partial as Buffer;
    if (partial !== undefined) kept.push(partial.subarray(0, this.partialBytes - this.keptBytes));
    return Buffer.concat(kept, this.partialBytes);
  }

  private clear(): void {
    this.partial = undefined;
    this.partialBytes = 0;
    this.kept = [];
    this.keptBytes = 0;
    this.neededBytes = HEADER_BYTES;
  }

  /** Room for so many copied bytes. */
  private reserve(bytes: number): void {
    const room = this.partial?.length ?? 0;
    if (bytes <= room) return;
    const missing = this.neededBytes - this.keptBytes;
    const eagerBytes = this.isLent ? EAGER_LENT_BYTES : EAGER_FRAME_BYTES;
    const growth = this.isLent ? LENT_GROWTH : GROWTH;
    const wanted = missing <= eagerBytes ? missing : Math.min(missing, bytes * growth);
    const larger = Buffer.allocUnsafe(Math.max(wanted, SMALLEST_ROOM_BYTES));
    this.partial?.copy(larger, 0, 0, this.partialBytes - this.keptBytes);
    this.partial = larger;
  }

  private bodyLength(bytes: Buffer, position: number): number {
    const length = bytes.readUInt32BE(position);
    if (length > this.maxFrameBytes) throw new FrameTooLargeError(length, this.maxFrameBytes);
    return length;
  }
}

/**
 * The whole, small frames of a chunk from `first` on as one text, with blanks for their headers: to read many at once costs little
 * more than to read one. Undefined if there are less than two, or if they are not ASCII.
 */
function readFrames(chunk: Buffer, first: number): string | undefined {
  const size = chunk.length;
  let frames = 0;
  let position = first;
  while (size - position >= HEADER_BYTES) {
    const end = position + HEADER_BYTES + chunk.readUInt32BE(position);
    if (end > size) break;
    position = end;
    frames++;
  }
  const bytes = position - first;
  if (frames < 2 || bytes > Math.min(scratch.length, frames * SMALL_FRAME_BYTES)) return undefined;
  chunk.copy(scratch, 0, first, position);
  for (let start = 0; start < bytes;) {
    const end = start + HEADER_BYTES + scratch.readUInt32BE(start);
    scratch.writeUInt32BE(BLANKS, start);
    start = end;
  }
  return isAscii(scratch.subarray(0, bytes)) ? scratch.toString('latin1', 0, bytes) : undefined;
}
