import { mkdir, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';

import { BASELINE_ID, loadPeer, PEER_IDS, VARIANT_IDS } from './peers/index.mjs';
import { QUICK_SCENARIO_IDS, SCENARIO_IDS } from './scenarios/index.mjs';
import { positiveInteger } from './support/arguments.mjs';
import { toChart } from './support/chart.mjs';
import { preamble, toMarkdown } from './support/markdown.mjs';
import { environment, summarise, withoutLatencies } from './support/report.mjs';
import { Field } from './support/run.mjs';

const USAGE = `npm run bench -- [options]
  --quick            about a minute: few short rounds of the main scenarios, good for a first look
  --smoke            every scenario once and small: whether it runs, not how fast; fails if ours does
  --rounds <n>       rounds, each visiting every contestant in turn (quick: 3, smoke: 1, else 9)
  --ms <n>           milliseconds per contestant, case and round (quick: 150, smoke: 10, else 700)
  --peers <a,b>      of ${PEER_IDS.join(', ')}
  --scenarios <a,b>  of ${SCENARIO_IDS.join(', ')}
  --cases <a,b>      of the scenarios' cases, by their ids (in the JSON report)
  --profile <dir>    leave a CPU profile of each end and case there; slower, so for profiles only`;

const text = { type: 'string' };
const flag = { type: 'boolean', default: false };
const { values } = parseArgs({
  options: {
    quick: flag,
    smoke: flag,
    rounds: text,
    ms: text,
    peers: text,
    scenarios: text,
    cases: text,
    profile: text,
    help: flag,
  },
});
if (values.help) {
  console.log(USAGE);
  process.exit();
}
const isSmoke = values.smoke;
const byKind = (quick, smoke, full) => (isSmoke ? smoke : values.quick ? quick : full);
const rounds = positiveInteger('rounds', values.rounds ?? byKind('3', '1', '9'));
const ms = positiveInteger('ms', values.ms ?? byKind('150', '10', '700'));
const peerIds = values.peers?.split(',') ?? PEER_IDS;
const scenarioIds = values.scenarios?.split(',') ?? byKind(QUICK_SCENARIO_IDS, SCENARIO_IDS, SCENARIO_IDS);
const caseIds = values.cases?.split(',');

const titles = new Map();
for (const id of new Set([...peerIds, ...VARIANT_IDS, BASELINE_ID]))
  titles.set(id, (await loadPeer(id)).title);
const titleOf = (id) => titles.get(id);

const report = { environment: environment(), rounds, ms, titles: Object.fromEntries(titles), scenarios: {} };
const parts = [`${preamble(report)}\n`];
console.log(parts[0]);

const profileFolder = values.profile && resolve(values.profile);
if (profileFolder !== undefined) await mkdir(profileFolder, { recursive: true });
const field = new Field(peerIds, profileFolder);
try {
  for (const id of scenarioIds) {
    const { title, unit, cases } = await field.run(id, { rounds, ms, isSmoke, caseIds });
    if (cases.length > 0) report.scenarios[id] = present(title, unit, cases);
  }
} finally {
  await field.stop();
}
await save();

const failures = Object.values(report.scenarios)
  .flatMap(({ cases }) => cases)
  .flatMap(({ id, rows }) => rows.map((row) => ({ id, ...row })))
  .filter(({ failure }) => failure !== undefined);
for (const { id, peer, failure } of failures)
  console.log(`${titleOf(peer)}, ${id}: ${failure.split('\n', 1)[0]}`);
if (failures.some(({ peer }) => peer.startsWith('ours-'))) process.exitCode = 1;

function present(title, unit, cases) {
  say(`### ${title}\n`);
  return {
    title,
    unit,
    cases: cases.map(({ benchCase, samples }) => {
      const rows = summarise(benchCase, samples);
      say(toMarkdown(benchCase.title, benchCase.unit ?? unit, rows, titleOf));
      return { ...benchCase, rows, samples: withoutLatencies(samples) };
    }),
  };
}

function say(part) {
  console.log(part);
  parts.push(part);
}

/** The tables, all samples, and a picture of the ratios. */
async function save() {
  const folder = new URL('./results/', import.meta.url);
  await mkdir(folder, { recursive: true });
  const name = report.environment.date.replaceAll(/[:.]/g, '-');
  const write = (extension, content) => writeFile(new URL(`${name}.${extension}`, folder), content);
  await write('json', `${JSON.stringify(report, null, 2)}\n`);
  await write('md', `${parts.join('\n')}`);
  await write('svg', await toChart(report));
  console.log(`bench/results/${name}.md, .json with every sample, .svg`);
}
