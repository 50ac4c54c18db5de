const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const BARE_NON_NUMBER = /-?\bInfinity\b|\bNaN\b/g;

/** Some Python writers emit bare `NaN` and `Infinity`, which is not JSON. They read as null here. */
export function withoutBareNonNumbers(text: string): string | undefined {
  if (!text.includes('NaN') && !text.includes('Infinity')) return undefined;
  const repaired = replaceOutsideStrings(text, (part) => part.replace(BARE_NON_NUMBER, 'null'));
  return repaired === text ? undefined : repaired;
}

/**
 * JSON text with `replace` done to all of it that is not within a string. Strings are stepped over by hand: one
 * pattern for both would take quadratic time over a string that does not end.
 */
export function replaceOutsideStrings(text: string, replace: (part: string) => string): string {
  let result = '';
  let position = 0;
  while (position < text.length) {
    const quote = text.indexOf('"', position);
    const outsideEnd = quote < 0 ? text.length : quote;
    result += replace(text.slice(position, outsideEnd));
    position = quote < 0 ? outsideEnd : endOfString(text, quote);
    result += text.slice(outsideEnd, position);
  }
  return result;
}

/** Sets an own property, where an assignment would change the prototype if the key is `__proto__`. */
export function setOwn(record: object, key: string, value: unknown): void {
  Object.defineProperty(record, key, { value, writable: true, enumerable: true, configurable: true });
}

/** The position behind the string that begins at `quote`. */
function endOfString(text: string, quote: number): number {
  for (let i = quote + 1; i < text.length; i++) {
    const character = text.charCodeAt(i);
    if (character === BACKSLASH) i++;
    else if (character === QUOTE) return i + 1;
  }
  return text.length;
}
