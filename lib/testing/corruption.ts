import type { Corruption } from './faults.js';
import type { Random } from './seeded-random.js';

/**
 * Positions of the bytes to change within a piece of `size` bytes.
 *
 * @param start how many bytes went before the piece since the fault took hold
 */
export function corruptedPositions(corruption: Corruption, start: number, size: number): readonly number[] {
  if ('atByte' in corruption) {
    const position = corruption.atByte - start;
    return position >= 0 && position < size ? [position] : [];
  }
  const { every } = corruption;
  const positions: number[] = [];
  for (let position = every - 1 - (start % every); position < size; position += every)
    positions.push(position);
  return positions;
}

/** Flips bits in the bytes at `positions`, in place: `mask`, or one bit drawn for each. */
export function flipBits(
  piece: Buffer,
  positions: readonly number[],
  mask: number | undefined,
  random: Random,
): void {
  for (const position of positions) {
    piece.writeUInt8(piece.readUInt8(position) ^ (mask ?? 1 << Math.floor(random() * 8)), position);
  }
}
