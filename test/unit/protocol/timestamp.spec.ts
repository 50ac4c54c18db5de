import { formatTimestamp } from '../../../lib/protocol/timestamp.js';

describe('formatTimestamp', () => {
  it.each([
    [new Date(2024, 0, 2, 3, 4, 5, 6), '2024-01-02T03:04:05.006000'],
    [new Date(2024, 11, 31, 23, 59, 59, 999), '2024-12-31T23:59:59.999000'],
    // The original leaves out a fraction of 0; nobody reads the timestamp.
    [new Date(2024, 9, 10, 0, 0, 0, 0), '2024-10-10T00:00:00.000000'],
  ])('writes local time without a zone, with six decimals: %s', (date, text) => {
    expect(formatTimestamp(date.getTime())).toBe(text);
    expect(formatTimestamp(date.getTime())).toBe(text);
  });
});
