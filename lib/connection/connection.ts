import type { Duplex } from 'node:stream';
import { ConnectionLostError } from '../errors/connection.errors.js';
import type { Dialect, Speaker } from '../protocol/dialect.js';
import { FrameReader, type FrameSink } from '../protocol/frame-reader.js';
import type { Frame } from '../protocol/frame-writer.js';
import type { MessageBody } from '../protocol/message-body.js';
import { LENT_DATA } from './lent-reads.js';
import { SendQueue, type FlushListener } from './send-queue.js';

/** Hears what happens on a connection. `onClose` comes exactly once and last. */
export interface ConnectionOwner {
  /** One whole, valid message. Must not throw. `bytes` is the size of its body. */
  onMessage(body: MessageBody, bytes: number): void;
  /** The peer ended its sending side; ours still works. */
  onEnd(): void;
  /** The socket is closed. `cause` is undefined after an ordinary end. */
  onClose(cause: Error | undefined): void;
  /** What was queued for a peer that had stopped reading has been taken. */
  onDrain?(): void;
  /** Whether other connections wait for their turn while this one is read. @default false */
  readonly hasNeighbours?: boolean;
}

/** After our end the peer gets this long to end too: some peers never do. */
const END_GRACE_MS = 250;
/**
 * A peer with neighbours that leaves more than this unread, and goes on sending, is read this slowly until it reads: so
 * many bytes, then a break. Left to itself, a socket with a lot to read is read 32 times in a row, and all its messages
 * hold up everybody's; without the break they would still take part in every turn.
 */
const UNREAD_BYTES = 1024 * 1024;
const UNREAD_BYTES_PER_TURN = 8 * 1024;
const UNREAD_BREAK_MS = 1;
/** How long what is queued may take to leave once the end was decided. */
const FLUSH_TIMEOUT_MS = 5_000;

/**
 * One socket's life: bytes in, messages out, frames in order, and one close. Never reused: a new socket gets
 * a new Connection, so that no late event of an old one can reach a live object.
 */
export class Connection implements FrameSink, Speaker {
  bytesReceived = 0;
  bytesSent = 0;
  messagesReceived = 0;
  messagesSent = 0;
  /** When bytes came last, milliseconds since the epoch; until then, since when there is a connection. */
  lastReceivedAt = Date.now();

  private readonly reader: FrameReader;
  private readonly queue: SendQueue;
  private state: 'open' | 'ending' | 'closed' = 'open';
  private cause: Error | undefined;
  private graceTimer: NodeJS.Timeout | undefined;
  /** Whether the owner wants nothing read for now. */
  private isPaused = false;
  private breakTimer: NodeJS.Timeout | undefined;
  /** What has come and is read after a break. */
  private rest: Buffer | undefined;

  constructor(
    private readonly socket: Duplex,
    private readonly owner: ConnectionOwner,
    /** For messages. */
    private readonly label: string,
    maxFrameBytes: number,
    public dialect: Dialect,
  ) {
    this.reader = new FrameReader(this, maxFrameBytes);
    this.queue = new SendQueue(socket);
    socket.on('data', this.onData);
    socket.on(LENT_DATA, this.onLentData);
    socket.on('end', this.onEnd);
    socket.on('error', this.onError);
    socket.on('close', this.onClose);
    socket.on('drain', this.onDrain);
  }

  get isOpen(): boolean {
    return this.state === 'open';
  }

  /** Bytes not yet taken by the kernel: what a peer that does not read costs. */
  get queuedBytes(): number {
    return this.queue.queuedBytes;
  }

  get hasPartialFrame(): boolean {
    return this.reader.hasPartialFrame;
  }

  send(frame: Frame, listener?: FlushListener): void {
    this.messagesSent++;
    this.bytesSent += frame.length;
    this.queue.push(frame, listener);
  }

  pause(): void {
    this.isPaused = true;
    this.socket.pause();
  }

  resume(): void {
    this.isPaused = false;
    if (this.rest === undefined) this.socket.resume();
    else this.takeBreak();
  }

  /** Sends what is queued, ends our side, and closes soon after whether or not the peer ends its own. */
  end(): void {
    if (this.state !== 'open') return;
    this.state = 'ending';
    this.reader.stop();
    this.queue.flush();
    // A frame written behind the end would break the socket off with what is still on its way.
    this.queue.close(new ConnectionLostError(this.label));
    this.destroyAfter(FLUSH_TIMEOUT_MS);
    this.socket.end(() => this.destroyAfter(this.socket.readableEnded ? 0 : END_GRACE_MS));
    this.rest = undefined;
    // Paused, it would never see the peer's end.
    this.resume();
  }

  /** Closes at once; what is queued is lost. */
  destroy(cause?: Error): void {
    if (this.state === 'closed') return;
    this.state = 'ending';
    this.cause ??= cause;
    this.reader.stop();
    this.socket.destroy();
  }

  onFrame(bytes: Buffer, start: number, end: number, text: string | undefined): void {
    const body = this.dialect.decode(bytes, start, end, this, text);
    this.messagesReceived++;
    if (body !== undefined) this.owner.onMessage(body, end - start);
  }

  private receive(chunk: Buffer, isLent: boolean): void {
    this.bytesReceived += chunk.length;
    this.lastReceivedAt = Date.now();
    this.read(chunk, isLent);
  }

  /** @param isLent whether the chunk is overwritten by the next */
  private read(chunk: Buffer, isLent: boolean): void {
    // Of a large frame only copies are made, which hold up nobody.
    const end = Math.max(UNREAD_BYTES_PER_TURN, this.reader.missingBytes);
    const isAll =
      chunk.length <= end || this.owner.hasNeighbours !== true || this.queue.queuedBytes <= UNREAD_BYTES;
    try {
      this.reader.push(isAll ? chunk : chunk.subarray(0, end), isLent);
    } catch (error) {
      this.destroy(error as Error);
      return;
    }
    if (isAll || this.state !== 'open') return;
    const rest = chunk.subarray(end);
    this.rest = isLent ? Buffer.from(rest) : rest;
    this.socket.pause();
    this.takeBreak();
  }

  private takeBreak(): void {
    this.breakTimer ??= setTimeout(this.readRest, UNREAD_BREAK_MS);
  }

  private readonly readRest = (): void => {
    clearTimeout(this.breakTimer);
    this.breakTimer = undefined;
    const { rest } = this;
    if (this.isPaused || rest === undefined) return;
    this.rest = undefined;
    this.read(rest, false);
    if (this.rest === undefined && !this.isPaused) this.socket.resume();
  };

  private destroyAfter(delayMs: number): void {
    clearTimeout(this.graceTimer);
    this.graceTimer = setTimeout(() => this.socket.destroy(), delayMs);
  }

  private readonly onData = (chunk: Buffer): void => this.receive(chunk, false);

  private readonly onLentData = (chunk: Buffer): void => this.receive(chunk, true);

  private readonly onDrain = (): void => {
    this.owner.onDrain?.();
    this.readRest();
  };

  private readonly onEnd = (): void => {
    if (this.state === 'open') this.owner.onEnd();
    else this.socket.destroy();
  };

  private readonly onError = (error: Error): void => {
    this.cause ??= new ConnectionLostError(this.label, { cause: error });
  };

  private readonly onClose = (): void => {
    this.state = 'closed';
    clearTimeout(this.graceTimer);
    clearTimeout(this.breakTimer);
    this.reader.stop();
    this.queue.close(this.cause ?? new ConnectionLostError(this.label));
    this.owner.onClose(this.cause);
  };
}
