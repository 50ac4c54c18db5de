import { InvalidOptionError } from '../errors/option.errors.js';

/** One way through the proxy. */
export type OneWay = 'toServer' | 'toClient';
export type Direction = OneWay | 'both';

/** Pieces of at most `bytes`. */
export interface Split {
  readonly bytes: number;
  /** Wait between two pieces. @default 0: the next turn of the event loop */
  readonly gapMs?: number;
}

/** Every chunk comes `ms` later, and up to `jitterMs` more. */
export interface Delay {
  readonly ms: number;
  /** @default 0 */
  readonly jitterMs?: number;
}

/** Which bytes are changed, and how. Counted over forwarded bytes, from the moment the fault takes hold. */
export type Corruption = (
  | {
      /** This byte alone; the next one to be forwarded is 0. */
      readonly atByte: number;
    }
  | {
      /** Each `every`th byte. */
      readonly every: number;
    }
) & {
  /** Bits to flip, 1 to 255. @default one bit, drawn anew for each byte */
  readonly mask?: number;
};

/** The faults one direction of one connection is under. */
export interface FlowFaults {
  readonly split: Required<Split> | undefined;
  readonly delay: Required<Delay> | undefined;
  readonly corrupt: Corruption | undefined;
  readonly truncateAfterBytes: number | undefined;
  readonly isStalled: boolean;
  readonly isBlackholed: boolean;
}

export const NO_FAULTS: FlowFaults = Object.freeze({
  split: undefined,
  delay: undefined,
  corrupt: undefined,
  truncateAfterBytes: undefined,
  isStalled: false,
  isBlackholed: false,
});

const LONGEST_TIMER_MS = 0x7fff_ffff;

export function resolveSplit(given: number | Split): Required<Split> {
  const { bytes, gapMs = 0 } = typeof given === 'number' ? { bytes: given } : given;
  return { bytes: wholeNumber('bytes', bytes, 1), gapMs: milliseconds('gapMs', gapMs) };
}

export function resolveDelay(given: number | Delay): Required<Delay> | undefined {
  const { ms, jitterMs = 0 } = typeof given === 'number' ? { ms: given } : given;
  const delay = { ms: milliseconds('ms', ms), jitterMs: milliseconds('jitterMs', jitterMs) };
  return ms + jitterMs === 0 ? undefined : delay;
}

export function resolveCorruption(given: Corruption): Corruption {
  if ('atByte' in given) wholeNumber('atByte', given.atByte, 0);
  else wholeNumber('every', given.every, 1);
  if (given.mask !== undefined) wholeNumber('mask', given.mask, 1, 255);
  return given;
}

export function wholeNumber(
  option: string,
  value: number,
  minimum: number,
  maximum = Number.MAX_SAFE_INTEGER,
): number {
  if (Number.isInteger(value) && value >= minimum && value <= maximum) return value;
  throw new InvalidOptionError(option, value, `a whole number from ${minimum} to ${maximum}`);
}

/** The ways `direction` stands for. */
export function waysOf(direction: Direction): readonly OneWay[] {
  if (direction === 'both') return ['toServer', 'toClient'];
  if (direction === 'toServer' || direction === 'toClient') return [direction];
  throw new InvalidOptionError('direction', direction, '"toServer", "toClient" or "both"');
}

function milliseconds(option: string, value: number): number {
  if (Number.isFinite(value) && value >= 0 && value <= LONGEST_TIMER_MS) return value;
  throw new InvalidOptionError(option, value, `a number of milliseconds from 0 to ${LONGEST_TIMER_MS}`);
}
