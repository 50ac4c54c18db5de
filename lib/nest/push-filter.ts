import type { PushFilter } from '../client/push-stream.js';

/**
 * Which pushes a pattern is for. An object fits types that are the text of such an object, whatever the order of its
 * keys: peers in other languages have their own.
 * @param normalize Nest's text for an object pattern
 */
export function pushFilter(
  pattern: string | object | undefined,
  normalize: (pattern: object) => string,
): PushFilter {
  if (pattern === undefined || typeof pattern === 'string') return pattern;
  const route = normalize(pattern);
  const routeOf = (type: string): string | undefined => {
    try {
      return normalize(JSON.parse(type) as object);
    } catch {
      return undefined;
    }
  };
  return (type) => type === route || (type.startsWith('{') && routeOf(type) === route);
}
