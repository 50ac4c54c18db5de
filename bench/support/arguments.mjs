/**
 * @param {string} name of a command line option
 * @param {string} text given for it
 */
export function positiveInteger(name, text) {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number > 0) return number;
  throw new Error(`--${name} must be a positive integer, not "${text}"`);
}
