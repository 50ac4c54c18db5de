import { BASELINE_ID } from '../peers/index.mjs';

/** One case as a Markdown table. @param {(id: string) => string} titleOf of a peer */
export function toMarkdown(heading, unit, rows, titleOf) {
  const measured = rows.filter(({ failure }) => failure === undefined);
  const has = (key) => measured.some((row) => row[key] !== undefined);
  const columns = [
    ['', ({ peer }) => titleOf(peer)],
    [`${unit}/s`, ({ rate }) => count(rate.median)],
    ['min - max', ({ rate }) => `${count(rate.min)} - ${count(rate.max)}`],
    [`x ${titleOf(BASELINE_ID)}`, ({ toBaseline }) => ratio(toBaseline)],
    ['x floor', ({ toFloor }) => ratio(toFloor)],
    ['CPU µs client', ({ cpuMicros }) => cpuMicros.client.toFixed(1)],
    ['CPU µs server', ({ cpuMicros }) => cpuMicros.server.toFixed(1)],
  ];
  if (has('latencyMicros'))
    columns.push(
      ['p50 µs', ({ latencyMicros }) => latencyMicros.p50.toFixed(0)],
      ['p99 µs', ({ latencyMicros }) => latencyMicros.p99.toFixed(0)],
    );
  if (has('rssBytes'))
    columns.push(
      ['MiB client', ({ rssBytes }) => mib(rssBytes.client)],
      ['MiB server', ({ rssBytes }) => mib(rssBytes.server)],
    );
  if (has('bytesPerConnection'))
    columns.push(
      ['server KiB each: heap', ({ bytesPerConnection }) => kib(bytesPerConnection.serverHeap)],
      ['all', ({ bytesPerConnection }) => kib(bytesPerConnection.serverRss)],
      ['client KiB each', ({ bytesPerConnection }) => kib(bytesPerConnection.clientRss)],
    );
  const lines = rows.map((row) =>
    columns.map(([, cell], i) => {
      if (row.failure === undefined || i === 0) return cell(row);
      return i === 1 ? row.failure.split('\n', 1)[0].slice(0, 60) : '–';
    }),
  );
  return [`#### ${heading}`, '', ...table([columns.map(([header]) => header), ...lines]), ''].join('\n');
}

/** The machine and the rules, above the tables. */
export function preamble({ environment, rounds, ms }) {
  const { date, node, nest, processors, memoryGiB, system, package: version } = environment;
  return [
    `nestjs-unix-socket ${version}, ${date.slice(0, 10)}; Node ${node}, Nest ${nest}, ${processors},`,
    `${memoryGiB} GiB, ${system}; medians of ${rounds} rounds of ${ms} ms, with the lowest and highest. Ratios are`,
    'taken within a round. CPU is that of the whole process for each operation.',
  ].join('\n');
}

function count(value) {
  return value < 100 ? value.toPrecision(3) : Math.round(value).toLocaleString('en-US');
}

function ratio(value) {
  return value === undefined
    ? '–'
    : `${value.median.toFixed(2)} (${value.min.toFixed(2)} - ${value.max.toFixed(2)})`;
}

function mib(bytes) {
  return (bytes / 2 ** 20).toFixed(0);
}

function kib(bytes) {
  return (bytes / 2 ** 10).toFixed(1);
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
