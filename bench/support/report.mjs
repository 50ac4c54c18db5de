import { cpus, totalmem, type } from 'node:os';

import { BASELINE_ID, FLOOR_ID } from '../peers/index.mjs';
import { nestVersion, packageVersion } from './nest.mjs';
import { median, quantile, summary } from './statistics.mjs';

/** Where and with what it ran: figures of two environments are not comparable, ratios hardly. */
export function environment() {
  const processors = cpus();
  return {
    date: new Date().toISOString(),
    package: packageVersion,
    node: process.version,
    nest: nestVersion,
    system: `${type()} ${process.arch}`,
    processors: `${processors.length} x ${processors[0].model.trim()}`,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
  };
}

/**
 * @param {Map<string, object[]>} samplesByPeer of one case; the n-th samples of all peers are of the same round
 * @returns one row per peer. Ratios are taken within a round, so that a slow minute of the machine counts for both.
 */
export function summarise(samplesByPeer) {
  return [...samplesByPeer].map(([peer, samples]) => {
    const rates = samples.map(rateOf);
    const ratioTo = (other) => {
      const others = samplesByPeer.get(other);
      return others === undefined
        ? undefined
        : summary(rates.map((rate, round) => rate / rateOf(others[round])));
    };
    const latencies = samples
      .filter(({ latencies }) => latencies?.length > 0)
      .map(({ latencies }) => latencies);
    return {
      peer,
      rate: summary(rates),
      toBaseline: ratioTo(BASELINE_ID),
      toFloor: ratioTo(FLOOR_ID),
      cpuMicros: {
        client: median(samples.map(({ cpuMicros, operations }) => cpuMicros.client / operations)),
        server: median(samples.map(({ cpuMicros, operations }) => cpuMicros.server / operations)),
      },
      latencyMicros:
        latencies.length === 0
          ? undefined
          : Object.fromEntries(
              [0.5, 0.99].map((share) => [
                `p${share * 100}`,
                median(latencies.map((round) => quantile(round, share))) * 1000,
              ]),
            ),
    };
  });
}

function rateOf({ operations, seconds }) {
  return operations / seconds;
}

/** One case as a Markdown table. @param {(id: string) => string} titleOf of a peer */
export function toMarkdown(heading, unit, rows, titleOf) {
  const timed = rows.some(({ latencyMicros }) => latencyMicros !== undefined);
  const header = [
    '',
    `${unit}/s`,
    'min - max',
    `x ${titleOf(BASELINE_ID)}`,
    'x floor',
    'CPU µs client',
    'CPU µs server',
  ];
  if (timed) header.push('p50 µs', 'p99 µs');
  const lines = rows.map(({ peer, rate, toBaseline, toFloor, cpuMicros, latencyMicros }) => [
    titleOf(peer),
    count(rate.median),
    `${count(rate.min)} - ${count(rate.max)}`,
    ratio(toBaseline),
    ratio(toFloor),
    cpuMicros.client.toFixed(1),
    cpuMicros.server.toFixed(1),
    ...(timed ? [latencyMicros.p50.toFixed(0), latencyMicros.p99.toFixed(0)] : []),
  ]);
  return [`#### ${heading}`, '', ...table([header, ...lines]), ''].join('\n');
}

function count(value) {
  return Math.round(value).toLocaleString('en-US');
}

function ratio(value) {
  return value === undefined
    ? '–'
    : `${value.median.toFixed(2)} (${value.min.toFixed(2)} - ${value.max.toFixed(2)})`;
}

/** First column to the left, figures to the right, padded so that a terminal shows it well too. */
function table([header, ...lines]) {
  const widths = header.map((_, column) =>
    Math.max(3, ...[header, ...lines].map((cells) => cells[column].length)),
  );
  const row = (cells) =>
    `| ${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join(' | ')} |`;
  const rule = `| ${widths.map((width, i) => (i === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |`;
  return [row(header), rule, ...lines.map(row)];
}
