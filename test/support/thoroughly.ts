/** Set where time matters less than certainty: `THOROUGH=1 npm test`, as `.ci/run` does. */
export const isThorough = process.env['THOROUGH'] === '1';

/** How often, how many, how large: `full` for a thorough run, `quick` for everyday ones. */
export function thoroughly<T>(full: T, quick: T): T {
  return isThorough ? full : quick;
}
