/** Gives the next number of its sequence, from 0 up to but not including 1. */
export type Random = () => number;

/**
 * Mulberry32: small, fast, the same sequence for the same seed everywhere. `salts` lead to unrelated sequences
 * under one seed, so that what one connection draws does not depend on what others draw meanwhile.
 */
export function seededRandom(seed: number, ...salts: readonly number[]): Random {
  let state = salts.reduce((mixed, salt) => scramble(mixed + salt), seed) | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    return (scramble(state) >>> 0) / 2 ** 32;
  };
}

function scramble(value: number): number {
  let mixed = Math.imul(value ^ (value >>> 15), value | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return mixed ^ (mixed >>> 14);
}
