import { connect, type Socket } from 'node:net';
import { readCompact } from './compact.js';
import { HEADER_BYTES, type WireMessage } from './frame.js';

export { frame, type WireMessage } from './frame.js';
export { tempSocketPath } from './temp-paths.js';

export type Address = { readonly path: string } | { readonly host?: string; readonly port: number };

/** For what is to come: a busy machine may keep the other process, or this one, from its turn for seconds. */
const DEFAULT_TIMEOUT_MS = 10_000;

/**
 * A hand-made peer on a plain socket, as client or (given an accepted socket) as server. It decodes frames by
 * itself, sharing no code with the library, and never ends or answers unless told to.
 */
export class RawPeer {
  /** All frames so far, in order, taken by {@link next} or not. */
  readonly received: WireMessage[] = [];
  /** The other side sent its FIN. Never settles if it is destroyed instead. */
  readonly ended: Promise<void>;
  /** The socket is closed. Never rejects; see {@link error}. */
  readonly closed: Promise<void>;
  /** What closed it, if it was an error. */
  error: Error | undefined;

  private chunks: Buffer[] = [];
  private neededBytes = HEADER_BYTES;
  private bufferedBytes = 0;
  private taken = 0;
  private isClosed = false;
  private onProgress: () => void = () => undefined;

  constructor(readonly socket: Socket) {
    socket.on('data', (chunk: Buffer) => this.decode(chunk));
    socket.on('error', (error) => (this.error = error));
    this.ended = new Promise((resolve) => socket.once('end', resolve));
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.isClosed = true;
        this.onProgress();
        resolve();
      });
    });
  }

  /** Resolves once connected. With `allowHalfOpen: false` it ends its side when the other does, as Node's sockets do. */
  static async connect(address: Address, { allowHalfOpen = true } = {}): Promise<RawPeer> {
    const to =
      'path' in address ? { path: address.path } : { host: address.host ?? '127.0.0.1', port: address.port };
    const socket = connect({ ...to, allowHalfOpen, noDelay: true });
    const peer = new RawPeer(socket);
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return peer;
  }

  /** Bytes received that are not yet a whole frame. */
  get pendingBytes(): number {
    return this.bufferedBytes;
  }

  /** Bytes as they are: several frames, half a frame, rubbish. Resolves when the kernel has them. */
  send(...bytes: readonly (Buffer | string)[]): Promise<void> {
    const all = Buffer.concat(bytes.map((part) => Buffer.from(part)));
    return new Promise((resolve, reject) => {
      this.socket.write(all, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** The first frame not yet taken. Rejects if none comes in time, or the connection closes first. One call at a time. */
  next(timeoutMs = DEFAULT_TIMEOUT_MS): Promise<WireMessage> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => settle(`No frame within ${timeoutMs} ms`), timeoutMs);
      const settle = (problem?: string): void => {
        clearTimeout(timer);
        this.onProgress = () => undefined;
        if (problem === undefined) resolve(this.received[this.taken++] as WireMessage);
        else
          reject(
            new Error(
              `${problem} (${this.received.length} before, ${this.bufferedBytes} bytes of a partial one)`,
            ),
          );
      };
      this.onProgress = () => {
        if (this.taken < this.received.length) settle();
        else if (this.isClosed)
          settle(`Closed before the next frame${this.error ? ` by ${this.error.message}` : ''}`);
      };
      this.onProgress();
    });
  }

  /** Ends this side (FIN); the other may go on sending. */
  end(): void {
    this.socket.end();
  }

  destroy(): void {
    this.socket.destroy();
  }

  private decode(chunk: Buffer): void {
    this.chunks.push(chunk);
    this.bufferedBytes += chunk.length;
    // Joined once a frame is whole, not with every chunk of it.
    if (this.bufferedBytes >= this.neededBytes) {
      let rest = Buffer.concat(this.chunks);
      this.neededBytes = HEADER_BYTES;
      while (rest.length >= HEADER_BYTES) {
        const end = HEADER_BYTES + rest.readUInt32BE(0);
        if (rest.length < end) {
          this.neededBytes = end;
          break;
        }
        this.received.push(readBody(rest.subarray(HEADER_BYTES, end)));
        rest = rest.subarray(end);
      }
      this.chunks = [rest];
      this.bufferedBytes = rest.length;
    }
    this.onProgress();
  }
}

function readBody(body: Buffer): WireMessage {
  return readCompact(body) ?? (JSON.parse(body.toString()) as WireMessage);
}
