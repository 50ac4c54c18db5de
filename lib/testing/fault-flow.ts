import type { Socket } from 'node:net';
import { corruptedPositions, flipBits } from './corruption.js';
import type { FaultTally } from './fault-stats.js';
import { NO_FAULTS, type FlowFaults, type OneWay } from './faults.js';
import type { Random } from './seeded-random.js';
import { resetSide, type Side } from './side.js';

/** What a flow draws its chances from. */
export interface FlowChances {
  readonly jitter: Random;
  readonly bits: Random;
}

/**
 * How a direction ends, the stronger the later: `end` is a FIN behind the bytes, `close` closes both sockets
 * behind them, `reset` does not wait for them.
 */
const ENDINGS = ['end', 'close', 'reset'] as const;
type Ending = (typeof ENDINGS)[number];

interface HeldChunk {
  bytes: Buffer;
  dueAt: number;
}

/** Reading stops at either of these, so that the writing end feels a reading end that does not read. */
const MAX_HELD_BYTES = 256 * 1024;
const MAX_HELD_CHUNKS = 1024;

/** One direction of one connection: reads `source`, writes `sink`, and does to the bytes what its faults say. */
export class FaultFlow {
  private faults: FlowFaults = NO_FAULTS;
  private state: 'idle' | 'writing' | 'stopped' = 'idle';
  private held: HeldChunk[] = [];
  private heldBytes = 0;
  private forwardedBytes = 0;
  private corruptFrom = 0;
  private cutAt = Infinity;
  /** The next piece of split chunks waits until then. */
  private restUntil = 0;
  private ending: { readonly how: Ending; readonly dueAt: number } | undefined;
  private settled: Ending | undefined;
  private timer: NodeJS.Timeout | undefined;
  private immediate: NodeJS.Immediate | undefined;

  constructor(
    private readonly way: OneWay,
    private readonly source: Socket,
    private readonly sink: Side,
    private readonly closePair: () => void,
    private readonly tally: FaultTally,
    private readonly chances: FlowChances,
  ) {
    source.on('data', this.onData);
    source.on('end', this.onEnd);
    source.on('close', this.onClose);
  }

  impose(change: Partial<FlowFaults>): void {
    if (this.state === 'stopped') return;
    if (change.isStalled === true && !this.faults.isStalled) this.tally.addFault('stall');
    this.faults = { ...this.faults, ...change };
    if ('corrupt' in change) this.corruptFrom = this.forwardedBytes;
    if ('truncateAfterBytes' in change)
      this.cutAt = this.forwardedBytes + (change.truncateAfterBytes ?? Infinity);
    if ('split' in change) this.restUntil = 0;
    if (this.faults.delay === undefined) this.releaseDelayed();
    this.pump();
  }

  /** Ends this direction as if the source had. */
  end(): void {
    if (this.state === 'stopped' || this.ending !== undefined) return;
    this.tally.addFault('halfClose');
    this.conclude('end');
  }

  /** Forwards nothing more and leaves no timer. The sockets are the owner's to close. */
  stop(): void {
    this.state = 'stopped';
    clearTimeout(this.timer);
    clearImmediate(this.immediate);
    this.dropHeld();
  }

  private readonly onData = (bytes: Buffer): void => {
    this.tally.addBytes(this.way, 'receivedBytes', bytes.length);
    if (this.state === 'stopped' || this.ending !== undefined) {
      this.tally.addBytes(this.way, 'droppedBytes', bytes.length);
      return;
    }
    if (this.faults.delay !== undefined) this.tally.addFault('delay');
    this.held.push({ bytes, dueAt: this.dueTime() });
    this.heldBytes += bytes.length;
    this.pump();
  };

  private readonly onEnd = (): void => {
    this.conclude('end');
    // An end may be half a close or a whole one. If whole, a Unix socket refuses even an empty write (EPIPE),
    // which closes it with an error; TCP cannot tell before bytes are sent.
    if (this.source.writable) this.source.write('');
  };

  private readonly onClose = (hadError: boolean): void => {
    if (hadError) this.conclude(this.source.readableEnded ? 'close' : 'reset');
  };

  private conclude(how: Ending): void {
    if (this.state === 'stopped') return;
    if (this.ending !== undefined && ENDINGS.indexOf(how) <= ENDINGS.indexOf(this.ending.how)) return;
    this.ending = { how, dueAt: this.dueTime() };
    this.pump();
  }

  /** Forwards what may go now; then ends, waits or reads on, as things stand. Everything is decided here. */
  private readonly pump = (): void => {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.state === 'stopped') return;
    if (!this.faults.isStalled) {
      if (this.faults.isBlackholed) this.swallow();
      else this.forwardDue();
      this.settle();
    }
    this.steerReading();
  };

  private swallow(): void {
    if (this.held.length > 0) this.tally.addFault('blackhole', this.held.length);
    this.dropHeld();
  }

  private forwardDue(): void {
    while (this.state === 'idle') {
      if (this.forwardedBytes >= this.cutAt) this.cut();
      const head = this.held[0];
      if (head === undefined || !this.isDue(Math.max(head.dueAt, this.restUntil))) return;
      if (!this.sink.socket.writable) return this.dropHeld();
      this.forward(head);
    }
  }

  private forward(head: HeldChunk): void {
    const { split } = this.faults;
    const size = Math.min(head.bytes.length, split?.bytes ?? Infinity, this.cutAt - this.forwardedBytes);
    const piece = head.bytes.subarray(0, size);
    this.corrupt(piece);
    if (size === head.bytes.length) this.held.shift();
    else head.bytes = head.bytes.subarray(size);
    this.heldBytes -= size;
    this.forwardedBytes += size;
    this.tally.addBytes(this.way, 'forwardedBytes', size);
    if (split !== undefined) this.tally.addFault('split');

    // One write at a time: Node would join waiting ones, and this is how the sink's back-pressure is felt.
    this.state = 'writing';
    this.sink.socket.write(piece, () => {
      if (split === undefined || this.state === 'stopped') return this.onWritten();
      this.restUntil = performance.now() + split.gapMs;
      this.afterReaders(this.onWritten);
    });
  }

  /** A reader in this process polls its socket first, so that it sees this piece by itself. One turn may not poll. */
  private afterReaders(then: () => void): void {
    this.immediate = setImmediate(() => (this.immediate = setImmediate(then)));
  }

  private readonly onWritten = (): void => {
    if (this.state === 'writing') this.state = 'idle';
    this.pump();
  };

  private corrupt(piece: Buffer): void {
    const { corrupt } = this.faults;
    if (corrupt === undefined) return;
    const positions = corruptedPositions(corrupt, this.forwardedBytes - this.corruptFrom, piece.length);
    flipBits(piece, positions, corrupt.mask, this.chances.bits);
    this.tally.addFault('corrupt', positions.length);
  }

  private cut(): void {
    this.cutAt = Infinity;
    this.dropHeld();
    this.tally.addFault('truncate');
    this.ending = { how: 'close', dueAt: 0 };
  }

  private settle(): void {
    const { ending, sink } = this;
    if (ending === undefined || ending.how === this.settled || this.faults.isBlackholed) return;
    if (ending.how !== 'reset' && (this.held.length > 0 || this.state !== 'idle')) return;
    if (!this.isDue(ending.dueAt)) return;
    this.settled = ending.how;
    this.dropHeld();
    if (ending.how === 'reset') resetSide(sink);
    else if (ending.how === 'end') sink.socket.end();
    else sink.socket.end(this.closePair);
  }

  private steerReading(): void {
    const hasRoom = this.heldBytes < MAX_HELD_BYTES && this.held.length < MAX_HELD_CHUNKS;
    if (hasRoom && !this.faults.isStalled) this.source.resume();
    else this.source.pause();
  }

  /** Whether `time` has come; if not, `pump` is called again when it has. */
  private isDue(time: number): boolean {
    const waitMs = time - performance.now();
    if (waitMs <= 0) return true;
    this.timer ??= setTimeout(this.pump, Math.ceil(waitMs));
    return false;
  }

  private dueTime(): number {
    const { delay } = this.faults;
    return delay === undefined ? 0 : performance.now() + delay.ms + delay.jitterMs * this.chances.jitter();
  }

  private releaseDelayed(): void {
    for (const chunk of this.held) chunk.dueAt = 0;
    if (this.ending !== undefined) this.ending = { how: this.ending.how, dueAt: 0 };
  }

  private dropHeld(): void {
    this.tally.addBytes(this.way, 'droppedBytes', this.heldBytes);
    this.held = [];
    this.heldBytes = 0;
  }
}
