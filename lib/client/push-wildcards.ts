import { InvalidOptionError } from '../errors/option.errors.js';

const ONE = '*';
const REST = '>';

/**
 * Whether a type fits a pattern in which `*` stands for one segment between dots and a last `>` for one or more.
 * Types are compared piece by piece and never become part of an expression, so a hostile one costs no more than its
 * first segments.
 * @throws InvalidOptionError if a wildcard is not a segment of its own, or `>` is not the last
 */
export function wildcardMatcher(pattern: string): (type: string) => boolean {
  const segments = pattern.split('.');
  segments.forEach((segment, index) => {
    const isWild = segment === ONE || (segment === REST && index === segments.length - 1);
    if (segment === '' || (!isWild && /[*>]/.test(segment))) {
      throw new InvalidOptionError(
        'pattern',
        pattern,
        'segments between dots, of which each "*" is one and ">" the last',
      );
    }
  });
  return (type) => {
    let start = 0;
    for (const [index, segment] of segments.entries()) {
      if (start > type.length) return false;
      if (segment === REST) return start < type.length;
      const dot = type.indexOf('.', start);
      const end = dot < 0 ? type.length : dot;
      const fits =
        segment === ONE ? end > start : end - start === segment.length && type.startsWith(segment, start);
      if (!fits) return false;
      if (index === segments.length - 1) return end === type.length;
      start = end + 1;
    }
    return false;
  };
}
