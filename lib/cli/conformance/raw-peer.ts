import type { Socket } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import { readBody } from './compact.js';
import { RuleBroken } from './verdict.js';
import { FrameCutter, type Received } from './wire.js';

/** Turns of the event loop in which what has arrived is read. */
const TURNS_OF_GRACE = 50;

/** One connection with the implementation under test, byte by byte. It never does anything by itself. */
export class RawPeer {
  /** Every frame, in order, looked at or not. */
  readonly frames: Received[] = [];

  /** Whether the kit has listed `compact`. To anybody else such a frame is no message. */
  readsCompact = false;

  private taken = 0;
  private bad: Buffer | undefined;
  private hasEnded = false;
  private lastSent: Buffer | undefined;
  private readonly watchers = new Set<() => void>();

  constructor(
    readonly socket: Socket,
    readonly timeoutMs: number,
  ) {
    const cutter = new FrameCutter(
      (body) => readBody(body, this.readsCompact),
      (received) => this.frames.push(received),
      (bytes) => (this.bad ??= bytes),
    );
    socket.on('data', (chunk: Buffer) => {
      cutter.push(chunk);
      this.tellWatchers();
    });
    socket.on('error', () => undefined); // a reset is an end like any other
    for (const event of ['end', 'close']) {
      socket.on(event, () => {
        this.hasEnded = true;
        this.tellWatchers();
      });
    }
  }

  /** Whether the other side has ended the connection. */
  get isGone(): boolean {
    return this.hasEnded;
  }

  send(...frames: readonly Buffer[]): void {
    this.lastSent = Buffer.concat(frames);
    if (!this.socket.destroyed) this.socket.write(this.lastSent);
  }

  /** Each byte a write of its own. */
  async sendInPieces(bytes: Buffer): Promise<void> {
    for (let i = 0; i < bytes.length; i++) {
      this.send(bytes.subarray(i, i + 1));
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.lastSent = bytes;
  }

  /** The next frame that `isMeant`; those before it are passed over. */
  async next(expected: string, isMeant: (body: Received['body']) => boolean): Promise<Received> {
    let found: Received | undefined;
    await this.until(() => {
      while (found === undefined && this.taken < this.frames.length) {
        const received = this.frames[this.taken++] as Received;
        if (isMeant(received.body)) found = received;
      }
      return found !== undefined || this.bad !== undefined || this.hasEnded;
    });
    if (found !== undefined) return found;
    if (this.bad !== undefined) {
      const form = this.readsCompact ? 'a JSON object or a compact frame' : 'a JSON object';
      throw this.broken(`a body that is ${form}`, 'something else', this.bad);
    }
    throw this.broken(
      expected,
      this.hasEnded ? 'the end of the connection' : `nothing within ${this.timeoutMs} ms`,
      this.frames.at(-1)?.bytes,
    );
  }

  response(id: unknown, expected = 'a response'): Promise<Received> {
    return this.next(
      expected,
      ({ msg_type: type, request_id: requestId }) => type === 'response' && isDeepStrictEqual(requestId, id),
    );
  }

  /** Waits until the other side has ended the connection. */
  async gone(): Promise<void> {
    await this.until(() => this.hasEnded);
    if (!this.hasEnded) {
      throw this.broken(
        'the end of the connection',
        `it is open after ${this.timeoutMs} ms`,
        this.frames.at(-1)?.bytes,
      );
    }
  }

  /** @returns whether `isMet` came to be true in time */
  async until(isMet: () => boolean, timeoutMs = this.timeoutMs): Promise<boolean> {
    if (isMet()) return true;
    const inTime = await new Promise<boolean>((resolve) => {
      const settle = (met: boolean): void => {
        clearTimeout(timer);
        this.watchers.delete(watcher);
        resolve(met);
      };
      const timer = setTimeout(() => settle(false), timeoutMs);
      const watcher = (): void => {
        if (isMet()) settle(true);
      };
      this.watchers.add(watcher);
    });
    // What came while this process was too busy to read it has come all the same.
    for (let turn = 0; !inTime && turn < TURNS_OF_GRACE && !isMet(); turn++) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    return inTime || isMet();
  }

  broken(expected: string, got: string, received?: Buffer): RuleBroken {
    return new RuleBroken(expected, got, this.lastSent, received);
  }

  /** @throws RuleBroken unless the value is `expected` */
  expectValue(what: string, expected: unknown, got: unknown, received: Received): void {
    if (isDeepStrictEqual(got, expected)) return;
    throw this.broken(`${what} ${show(expected)}`, show(got), received.bytes);
  }

  expect(isKept: boolean, expected: string, received: Received): void {
    if (!isKept) throw this.broken(expected, 'this frame', received.bytes);
  }

  end(): void {
    this.socket.end();
  }

  destroy(): void {
    this.socket.destroy();
  }

  private tellWatchers(): void {
    for (const watcher of this.watchers) watcher();
  }
}

const LONGEST_SHOWN = 200;

/** A value for people, as JSON; undefined is a missing key. */
export function show(value: unknown): string {
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) return 'nothing';
  return text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN)}…` : text;
}
