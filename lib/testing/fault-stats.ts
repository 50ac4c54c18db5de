import type { OneWay } from './faults.js';

/** How often each fault really did something, and to what. */
export interface FaultCounts {
  /** Pieces written. */
  readonly split: number;
  /** Chunks held back. */
  readonly delay: number;
  /** Directions of connections stopped. */
  readonly stall: number;
  /** Connections cut. */
  readonly truncate: number;
  /** Bytes changed. */
  readonly corrupt: number;
  /** Chunks swallowed. */
  readonly blackhole: number;
  /** Directions of connections ended. */
  readonly halfClose: number;
  /** Connections reset. */
  readonly reset: number;
  /** Connections closed at once. */
  readonly refuse: number;
}

/** Bytes of one direction: `receivedBytes` is the sum of the other three. */
export interface FlowStats {
  /** Read from the sending side. What is stalled before it is read is not among them. */
  readonly receivedBytes: number;
  /** Handed to the receiving side's socket. */
  readonly forwardedBytes: number;
  /** Swallowed, or left over when the connection closed. */
  readonly droppedBytes: number;
  /** Waiting in the proxy now. */
  readonly heldBytes: number;
}

/** A snapshot: it does not change afterwards. */
export interface FaultStats {
  readonly toServer: FlowStats;
  readonly toClient: FlowStats;
  readonly faults: FaultCounts;
}

type FlowCounter = Exclude<keyof FlowStats, 'heldBytes'>;

/** Counts for one connection and, through `parent`, for the whole proxy. */
export class FaultTally {
  private readonly flows = {
    toServer: { receivedBytes: 0, forwardedBytes: 0, droppedBytes: 0 },
    toClient: { receivedBytes: 0, forwardedBytes: 0, droppedBytes: 0 },
  };
  private readonly faults = {
    split: 0,
    delay: 0,
    stall: 0,
    truncate: 0,
    corrupt: 0,
    blackhole: 0,
    halfClose: 0,
    reset: 0,
    refuse: 0,
  } satisfies FaultCounts;

  constructor(private readonly parent?: FaultTally) {}

  addBytes(direction: OneWay, counter: FlowCounter, bytes: number): void {
    this.flows[direction][counter] += bytes;
    this.parent?.addBytes(direction, counter, bytes);
  }

  addFault(fault: keyof FaultCounts, times = 1): void {
    this.faults[fault] += times;
    this.parent?.addFault(fault, times);
  }

  snapshot(): FaultStats {
    return Object.freeze({
      toServer: this.flow('toServer'),
      toClient: this.flow('toClient'),
      faults: Object.freeze({ ...this.faults }),
    });
  }

  private flow(direction: OneWay): FlowStats {
    const counts = this.flows[direction];
    const heldBytes = counts.receivedBytes - counts.forwardedBytes - counts.droppedBytes;
    return Object.freeze({ ...counts, heldBytes });
  }
}
