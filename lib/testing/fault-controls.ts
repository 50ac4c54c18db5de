import { EventEmitter } from 'node:events';
import {
  NO_FAULTS,
  resolveCorruption,
  resolveDelay,
  resolveSplit,
  waysOf,
  wholeNumber,
  type Corruption,
  type Delay,
  type Direction,
  type FlowFaults,
  type OneWay,
  type Split,
} from './faults.js';

/**
 * The faults on command, the same for one connection and for a whole proxy. They add up, each replaces only an
 * earlier one of its own kind, and they hold until {@link clear}, unless the method says otherwise. Direction is
 * always the last argument and means both ways when left out.
 *
 * A byte passes them in this order: delay, stall, blackhole, split, corrupt; truncate counts what came through.
 */
export abstract class FaultControls<
  Events extends Record<keyof Events, unknown[]>,
> extends EventEmitter<Events> {
  /** Forwards in pieces of at most so many bytes, each its own write and its own turn of the event loop. */
  split(pieces: number | Split, direction: Direction = 'both'): void {
    this.impose({ split: resolveSplit(pieces) }, waysOf(direction));
  }

  /** Adds latency to every chunk and to the end of the stream; their order is kept. */
  delay(latency: number | Delay, direction: Direction = 'both'): void {
    this.impose({ delay: resolveDelay(latency) }, waysOf(direction));
  }

  /** Stops forwarding and reading: nothing is lost, and the sender feels the back-pressure. {@link resume} undoes it. */
  stall(direction: Direction = 'both'): void {
    this.impose({ isStalled: true }, waysOf(direction));
  }

  /** Undoes {@link stall}: what was held is forwarded. */
  resume(direction: Direction = 'both'): void {
    this.impose({ isStalled: false }, waysOf(direction));
  }

  /** Forwards so many bytes more, then closes both sides of the connection. 0 closes at once. */
  truncate(afterBytes: number, direction: Direction = 'both'): void {
    this.impose({ truncateAfterBytes: wholeNumber('afterBytes', afterBytes, 0) }, waysOf(direction));
  }

  /** Flips bits. */
  corrupt(what: Corruption, direction: Direction = 'both'): void {
    this.impose({ corrupt: resolveCorruption(what) }, waysOf(direction));
  }

  /**
   * Reads everything and forwards nothing, neither bytes nor the end of a side: as if the other machine had lost
   * its power. After {@link clear} later bytes pass again, and an end that came meanwhile; swallowed bytes stay lost.
   */
  blackhole(direction: Direction = 'both'): void {
    this.impose({ isBlackholed: true }, waysOf(direction));
  }

  /**
   * Ends a direction (FIN) behind what was read of it so far, while the other goes on; later bytes of that
   * direction are dropped. Acts on live connections, once.
   */
  abstract halfClose(direction: OneWay): void;

  /** Destroys both sides at once, with RST on TCP; what is held is lost. Acts on live connections, once. */
  abstract reset(): void;

  /** Ends all faults; what was held is forwarded without further delay. */
  clear(direction: Direction = 'both'): void {
    this.impose(NO_FAULTS, waysOf(direction));
  }

  /** @internal */
  abstract impose(change: Partial<FlowFaults>, ways: readonly OneWay[]): void;
}
