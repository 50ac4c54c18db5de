/** In the order of the report. Each id is a file beside this one. */
export const SCENARIO_IDS = [
  'echo',
  'large',
  'events',
  'stream',
  'push',
  'burst',
  'giants',
  'growth',
  'cluster',
  'connections',
];

/** What a first look asks. */
export const QUICK_SCENARIO_IDS = ['echo', 'large', 'events', 'stream', 'push', 'burst'];

/**
 * One question asked of every contestant. `drive` runs in the client's process, once per case and round.
 *
 * @typedef {object} Case
 * @property {string} id
 * @property {string} title
 * @property {string} [unit] instead of the scenario's
 * @property {number} [unitsPerOperation] what one operation counts in the unit; default 1
 * @property {number} [boundMs] beyond the time to run, until it counts as hanging; default 10,000
 * @property {boolean} [isHeavy] takes seconds: not driven to warm up
 * @property {number} [maxRounds] takes minutes: not driven more often
 * @property {object} [smoke] what is smaller in a smoke run
 *
 * @typedef {object} Setup processes of its own, for what one client with default options cannot show
 * @property {number} [clients] connections in the client's process; default 1
 * @property {object} [options] of both ends, under the names our package gives them
 * @property {boolean} [isOnce] one round is enough
 *
 * @typedef {object} Sample
 * @property {number} operations done
 * @property {number} seconds that they took
 * @property {number[]} [latencies] milliseconds of each, where the scenario measures them
 * @property {Record<string, number>} [bytesPerConnection]
 *
 * @typedef {object} Scenario
 * @property {string} title
 * @property {string} unit of one operation, in the plural
 * @property {Setup} [setup]
 * @property {Case[]} cases
 * @property {string[]} [only] ids of the peers it is for; default all that have not opted out
 * @property {(ends: { client: Client, clients: Client[] }, benchCase: Case, ms: number) => Promise<Sample>} [drive]
 * @property {(pair: Pair, benchCase: Case) => Promise<Sample>} [measure] instead of `drive`, in the runner
 *
 * @param {string} id
 * @returns {Promise<Scenario>}
 */
export function loadScenario(id) {
  if (!SCENARIO_IDS.includes(id))
    throw new Error(`unknown scenario "${id}"; known: ${SCENARIO_IDS.join(', ')}`);
  return import(`./${id}.mjs`);
}
