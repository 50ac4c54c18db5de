/** Values that a rule refuses, and what it says it expects. */
export interface BadValues {
  readonly values: readonly unknown[];
  readonly expected: string;
}

/** Node's timers would fire at once. */
export const TOO_LATE = 2_147_483_648;

export const STRING: BadValues = { values: [5, true, {}, null], expected: 'a string' };
export const BOOLEAN: BadValues = { values: ['true', 0, 1, null], expected: 'true or false' };
export const MILLISECONDS: BadValues = {
  values: [-1, NaN, Infinity, TOO_LATE, '5', 5n, null],
  expected: 'a number of milliseconds from 0 to 2147483647',
};

export function countFrom(minimum: number): BadValues {
  return {
    values: [minimum - 1, minimum + 0.5, NaN, Infinity, String(minimum), null],
    expected: `a whole number of at least ${minimum}`,
  };
}

export const CODEC: BadValues = {
  values: [
    'cbor',
    '',
    5,
    null,
    {},
    { name: 'x', encode: () => undefined },
    { name: 1, encode() {}, decode() {} },
  ],
  expected: '"auto", "json", "msgpack" or an object { name, encode, decode }',
};
