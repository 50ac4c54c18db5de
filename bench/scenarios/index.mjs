/** Each id is a file beside this one. */
export const SCENARIO_IDS = ['echo'];

/**
 * One question asked of every contestant. `drive` runs in the client's process, once per case and round.
 *
 * @typedef {object} Case
 * @property {string} title
 *
 * @typedef {object} Sample
 * @property {number} operations done
 * @property {number} seconds that they took
 * @property {number[]} [latencies] milliseconds of each, where the scenario measures them
 *
 * @typedef {object} Scenario
 * @property {string} title
 * @property {string} unit of one operation, in the plural
 * @property {Case[]} cases
 * @property {(client: import('../peers/index.mjs').Client, benchCase: Case, ms: number) => Promise<Sample>} drive
 *
 * @param {string} id
 * @returns {Promise<Scenario>}
 */
export function loadScenario(id) {
  if (!SCENARIO_IDS.includes(id))
    throw new Error(`unknown scenario "${id}"; known: ${SCENARIO_IDS.join(', ')}`);
  return import(`./${id}.mjs`);
}
