import { mkdir, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';

import { BASELINE_ID, loadPeer, PEER_IDS } from './peers/index.mjs';
import { loadScenario, SCENARIO_IDS } from './scenarios/index.mjs';
import { positiveInteger } from './support/arguments.mjs';
import { Pair } from './support/pair.mjs';
import { environment, summarise, toMarkdown } from './support/report.mjs';

const USAGE = `npm run bench -- [options]
  --quick            about a minute: few short rounds, good for a first look
  --rounds <n>       rounds, each visiting every contestant in turn (quick: 7, else 15)
  --ms <n>           milliseconds per contestant, case and round (quick: 300, else 1000)
  --peers <a,b>      of ${PEER_IDS.join(', ')}
  --scenarios <a,b>  of ${SCENARIO_IDS.join(', ')}`;

const WARM_UP_MS = 300;

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    ms: { type: 'string' },
    peers: { type: 'string', default: PEER_IDS.join(',') },
    scenarios: { type: 'string', default: SCENARIO_IDS.join(',') },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(USAGE);
  process.exit();
}
const rounds = positiveInteger('rounds', values.rounds ?? (values.quick ? '7' : '15'));
const ms = positiveInteger('ms', values.ms ?? (values.quick ? '300' : '1000'));
const peerIds = values.peers.split(',');
const scenarioIds = values.scenarios.split(',');

const titles = new Map();
for (const id of new Set([...peerIds, BASELINE_ID])) titles.set(id, (await loadPeer(id)).title);
const titleOf = (id) => titles.get(id);

const report = { environment: environment(), rounds, ms, scenarios: {} };
const { node, nest, processors, system } = report.environment;
console.log(`Node ${node}, Nest ${nest}, ${processors}, ${system}; ${rounds} rounds of ${ms} ms, medians\n`);

const pairs = [];
try {
  for (const id of peerIds) pairs.push(await Pair.start(id));
  for (const pair of pairs) await pair.openClients(1);
  for (const id of scenarioIds) report.scenarios[id] = await runScenario(id);
} finally {
  await Promise.all(pairs.map((pair) => pair.stop()));
}
console.log(`Raw samples: ${await save(report)}`);

/** All contestants stay up and take turns, so that a disturbance of the machine hits each of them alike. */
async function runScenario(id) {
  const { title, unit, cases } = await loadScenario(id);
  for (const pair of pairs) for (const benchCase of cases) await pair.drive(id, benchCase, WARM_UP_MS);

  const samples = cases.map(() => new Map(peerIds.map((peer) => [peer, []])));
  for (let round = 0; round < rounds; round++) {
    for (const [index, benchCase] of cases.entries()) {
      // Back and forth, so that nobody always runs after the same neighbour.
      for (const pair of round % 2 === 0 ? pairs : pairs.toReversed()) {
        samples[index].get(pair.id).push(await pair.drive(id, benchCase, ms));
      }
    }
  }

  console.log(`### ${title}\n`);
  return {
    title,
    unit,
    cases: cases.map((benchCase, index) => {
      const rows = summarise(samples[index]);
      console.log(toMarkdown(benchCase.title, unit, rows, titleOf));
      return { ...benchCase, rows, samples: Object.fromEntries([...samples[index]].map(withoutLatencies)) };
    }),
  };
}

/** Hundreds of thousands of numbers that nobody reads: the rows have their quantiles. */
function withoutLatencies([peer, samples]) {
  return [peer, samples.map(({ latencies: _, ...sample }) => sample)];
}

async function save(result) {
  const folder = new URL('./results/', import.meta.url);
  await mkdir(folder, { recursive: true });
  const name = `${result.environment.date.replaceAll(/[:.]/g, '-')}.json`;
  await writeFile(new URL(name, folder), `${JSON.stringify(result, null, 2)}\n`);
  return `bench/results/${name}`;
}
