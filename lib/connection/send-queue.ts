import type { Duplex } from 'node:stream';
import { SplitFrame, type Frame } from '../protocol/frame-writer.js';
import { atTurnEnd, presentTurn, type TurnListener } from './turn.js';

/**
 * A group is written once it has this many bytes, then twice as many, up to the last limit, until the turn ends.
 * Small groups first keep the other process busy while this one makes more; gathering everything to the turn's
 * end would save more system calls, but makes the two processes take turns.
 */
const FIRST_GROUP_BYTES = 1.5 * 1024;
const LAST_GROUP_BYTES = 8 * 1024;

/**
 * Joined text is a tree of its pieces until it is written, which the garbage collector walks and copies again and
 * again. While a lot has to wait, what is joined becomes bytes at this size.
 */
const LARGEST_TEXT_BYTES = 8 * 1024;
const SLAB_BYTES = 8 * LARGEST_TEXT_BYTES;

/** Hears once that the kernel has a frame, or of the error that prevented it. */
export interface FlushListener {
  onFlushed(error: Error | null | undefined): void;
}

type WriteCallback = (error?: Error | null) => void;

/**
 * Writes the frames of one socket. The first of a turn goes out at once, so that a lone message waits for nothing, unless
 * the turn before brought more than one: then others will follow, and it begins a group. While the socket is backed up
 * everything is gathered here until it drains.
 */
export class SendQueue implements TurnListener {
  /** Joined small frames, one byte per character. */
  private text = '';
  /** What goes before `text`: frames that came in bytes, and text that had to wait. */
  private parts: Buffer[] = [];
  /** Has room for text that has to wait; only while some does. */
  private slab: Buffer | undefined;
  private slabBytes = 0;
  private gatheredBytes = 0;
  private listeners: FlushListener[] = [];
  /** In which the last frame was taken, and how many were. */
  private turn = -1;
  private framesOfTurn = 0;
  private awaitsTurnEnd = false;
  private groupBytes = FIRST_GROUP_BYTES;
  private isBlocked = false;
  private isClosed = false;

  constructor(private readonly socket: Duplex) {
    socket.on('drain', this.onDrain);
  }

  /** Bytes accepted by {@link push} that the kernel has not taken yet. */
  get queuedBytes(): number {
    return this.gatheredBytes + this.socket.writableLength;
  }

  push(frame: Frame, listener?: FlushListener): void {
    if (this.isClosed) {
      listener?.onFlushed(new Error('The connection is closed'));
      return;
    }
    if (listener !== undefined) this.listeners.push(listener);
    this.gather(frame);
    if (this.isBlocked) return;
    if (this.isFirstAndLone()) {
      this.flush();
    } else if (this.gatheredBytes >= this.groupBytes) {
      this.flush();
      this.groupBytes = Math.min(this.groupBytes * 2, LAST_GROUP_BYTES);
    } else if (!this.awaitsTurnEnd) {
      this.awaitsTurnEnd = true;
      atTurnEnd(this);
    }
  }

  onTurnEnd(): void {
    this.awaitsTurnEnd = false;
    if (!this.isBlocked) this.flush();
  }

  /** Hands everything gathered to the socket, drained or not. */
  flush(): void {
    if (this.gatheredBytes === 0) return;
    const onFlushed = this.takeListeners();
    this.gatheredBytes = 0;
    let isAccepted: boolean;
    if (this.parts.length === 0) {
      const { text } = this;
      this.text = '';
      isAccepted = this.socket.write(text, 'latin1', onFlushed);
    } else {
      this.sealText();
      const { parts } = this;
      this.parts = [];
      isAccepted = this.writeParts(parts, onFlushed);
    }
    // A large write that the kernel took at once is no reason to hold back, whatever the stream's mark says.
    this.isBlocked = !isAccepted && this.socket.writableLength > 0;
  }

  /** No more frames are taken. What was gathered is dropped and its callbacks get `error`. */
  close(error: Error): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.socket.off('drain', this.onDrain);
    this.text = '';
    this.parts = [];
    this.slab = undefined;
    this.gatheredBytes = 0;
    this.takeListeners()?.(error);
  }

  private isFirstAndLone(): boolean {
    const turn = presentTurn();
    if (turn === this.turn) {
      this.framesOfTurn++;
      return false;
    }
    const wasLone = this.framesOfTurn < 2;
    this.turn = turn;
    this.framesOfTurn = 1;
    this.groupBytes = FIRST_GROUP_BYTES;
    return wasLone;
  }

  private gather(frame: Frame): void {
    this.gatheredBytes += frame.length;
    if (typeof frame === 'string') {
      this.text += frame;
      if (this.isBlocked && this.text.length >= LARGEST_TEXT_BYTES) this.sealText();
      return;
    }
    if (frame instanceof SplitFrame) {
      this.text += frame.head;
      this.sealText();
      this.parts.push(frame.body);
      this.text += frame.tail;
    } else {
      this.sealText();
      this.parts.push(frame);
    }
  }

  /** Bytes, so that all parts are: mixed ones would be joined once more on their way to the kernel. */
  private sealText(): void {
    const { text } = this;
    if (text === '') return;
    this.text = '';
    this.parts.push(this.isBlocked ? this.store(text) : Buffer.from(text, 'latin1'));
  }

  private store(text: string): Buffer {
    if (this.slab === undefined || this.slabBytes + text.length > this.slab.length) {
      this.slab = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, text.length));
      this.slabBytes = 0;
    }
    const start = this.slabBytes;
    this.slabBytes += this.slab.write(text, start, 'latin1');
    return this.slab.subarray(start, this.slabBytes);
  }

  private writeParts(parts: readonly Buffer[], onFlushed: WriteCallback | undefined): boolean {
    this.socket.cork();
    let isAccepted = true;
    parts.forEach((part, index) => {
      isAccepted = this.socket.write(part, index === parts.length - 1 ? onFlushed : undefined);
    });
    this.socket.uncork();
    return isAccepted;
  }

  private takeListeners(): WriteCallback | undefined {
    if (this.listeners.length === 0) return undefined;
    const { listeners } = this;
    this.listeners = [];
    return (error) => {
      for (const listener of listeners) listener.onFlushed(error);
    };
  }

  private readonly onDrain = (): void => {
    this.isBlocked = false;
    this.flush();
    if (!this.isBlocked) this.slab = undefined;
  };
}
