let cachedMs = -1;
let cachedText = '';

/**
 * The protocol's timestamp: local time without a zone, six decimals, as in `2024-01-02T03:04:05.006000`.
 * Formatted once per millisecond, however many messages are written in it.
 */
export function formatTimestamp(epochMs: number): string {
  if (epochMs === cachedMs) return cachedText;
  const date = new Date(epochMs);
  cachedMs = epochMs;
  cachedText =
    `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}` +
    `T${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}` +
    `.${String(date.getMilliseconds()).padStart(3, '0')}000`;
  return cachedText;
}

function two(value: number): string {
  return value < 10 ? `0${value}` : `${value}`;
}
