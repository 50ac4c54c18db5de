/** @param {number[]} values */
export function median(values) {
  return quantile(values, 0.5);
}

/** The value that `share` of all values do not exceed, between neighbours by distance. */
export function quantile(values, share) {
  const sorted = values.toSorted((a, b) => a - b);
  const position = (sorted.length - 1) * share;
  const below = sorted[Math.floor(position)];
  const above = sorted[Math.ceil(position)];
  return below + (above - below) * (position - Math.floor(position));
}

export function summary(values) {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}
