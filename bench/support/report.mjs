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
 * @param {Map<string, Sample[]>} samplesByPeer of one case; the n-th samples of all peers are of the same round
 * @returns one row per peer. Ratios are taken within a round, so that a slow minute of the machine counts for both.
 */
export function summarise({ unitsPerOperation = 1 }, samplesByPeer) {
  const rateOf = ({ operations, seconds }) => (operations * unitsPerOperation) / seconds;
  const failureOf = (samples) => samples?.find(({ failure }) => failure !== undefined)?.failure;
  return [...samplesByPeer].map(([peer, samples]) => {
    const failure = failureOf(samples);
    if (failure !== undefined) return { peer, failure };
    const rates = samples.map(rateOf);
    const ratioTo = (other) => {
      const others = samplesByPeer.get(other);
      if (others === undefined || failureOf(others) !== undefined) return undefined;
      return summary(rates.map((rate, round) => rate / rateOf(others[round])));
    };
    return {
      peer,
      rate: summary(rates),
      toBaseline: ratioTo(BASELINE_ID),
      toFloor: ratioTo(FLOOR_ID),
      cpuMicros: ends((end) =>
        median(samples.map(({ cpuMicros, operations }) => cpuMicros[end] / operations)),
      ),
      rssBytes: samples[0].rssBytes && ends((end) => median(samples.map(({ rssBytes }) => rssBytes[end]))),
      latencyMicros: quantiles(
        samples.map(({ latencies = [] }) => latencies).filter(({ length }) => length > 0),
      ),
      bytesPerConnection: samples[0].bytesPerConnection,
    };
  });
}

/** Hundreds of thousands of numbers that nobody reads: the rows have their quantiles. */
export function withoutLatencies(samplesByPeer) {
  return Object.fromEntries(
    [...samplesByPeer].map(([peer, samples]) => [peer, samples.map(({ latencies: _, ...sample }) => sample)]),
  );
}

function ends(valueOf) {
  return { client: valueOf('client'), server: valueOf('server') };
}

/** Medians of the rounds' own quantiles. */
function quantiles(rounds) {
  if (rounds.length === 0) return undefined;
  return Object.fromEntries(
    [0.5, 0.99].map((share) => [
      `p${share * 100}`,
      median(rounds.map((latencies) => quantile(latencies, share))) * 1000,
    ]),
  );
}
