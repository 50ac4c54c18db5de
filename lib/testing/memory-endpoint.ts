import { Duplex } from 'node:stream';
import { AddressInUseError } from '../errors/address.errors.js';
import type { StreamEndpoint } from '../options/endpoint.js';

/**
 * One end of a pair of streams in memory: what is written to it is read from the other, in order, with
 * back-pressure. Ends and errors behave as those of a socket.
 */
export class MemoryStream extends Duplex {
  private peer: MemoryStream | undefined;
  /** Confirms the write that the other end has not read yet. */
  private waiting: ((error?: Error | null) => void) | undefined;

  private constructor() {
    super({ allowHalfOpen: true });
  }

  static pair(): [MemoryStream, MemoryStream] {
    const left = new MemoryStream();
    const right = new MemoryStream();
    left.peer = right;
    right.peer = left;
    return [left, right];
  }

  override _read(): void {
    const confirm = this.peer?.waiting;
    if (this.peer !== undefined) this.peer.waiting = undefined;
    confirm?.();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    const { peer } = this;
    if (peer === undefined || peer.destroyed) {
      callback(closedError());
    } else if (peer.push(chunk)) {
      callback();
    } else {
      this.waiting = callback;
    }
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.peer?.push(null);
    callback();
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    const { peer } = this;
    this.peer = undefined;
    this.waiting = undefined;
    const stuck = peer?.waiting;
    if (peer !== undefined) peer.waiting = undefined;
    stuck?.(closedError());
    // The other end sees what a socket would: the end of the stream, if it had not seen it yet.
    if (peer !== undefined && !peer.destroyed && !peer.readableEnded) process.nextTick(() => peer.push(null));
    callback(error);
  }
}

function closedError(): Error {
  return Object.assign(new Error('The other end is closed'), { code: 'EPIPE' });
}

/**
 * An endpoint without sockets: a server and clients of one process, joined in memory, with the real codec and the
 * real state machines. Works under fake timers.
 * @example
 * const streams = new MemoryEndpoint();
 * const server = new UnixSocketServer({ streams });
 * const client = new UnixSocketClientProxy({ streams });
 */
export class MemoryEndpoint implements StreamEndpoint {
  private onStream: ((stream: Duplex) => void) | undefined;
  private readonly streams = new Set<MemoryStream>();

  constructor(readonly label = 'memory') {}

  connect(): Duplex {
    const [client, server] = MemoryStream.pair();
    if (this.onStream === undefined) {
      client.destroy(Object.assign(new Error('Nobody listens'), { code: 'ECONNREFUSED' }));
      return client;
    }
    for (const stream of [client, server]) {
      this.streams.add(stream);
      stream.once('close', () => this.streams.delete(stream));
    }
    this.onStream(server);
    return client;
  }

  /** @throws AddressInUseError if somebody listens already */
  listen(onStream: (stream: Duplex) => void): () => void {
    if (this.onStream !== undefined)
      throw new AddressInUseError(this.label, 'another server of this process');
    this.onStream = onStream;
    return () => {
      if (this.onStream === onStream) this.onStream = undefined;
    };
  }

  /** Cuts every connection, as when a cable is pulled. New ones may be made. */
  drop(): void {
    for (const stream of this.streams) stream.destroy();
  }
}
