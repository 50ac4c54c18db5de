import { join } from 'node:path';

import { loadPeer, VARIANT_IDS } from '../peers/index.mjs';
import { loadScenario } from '../scenarios/index.mjs';
import { Pair } from './pair.mjs';
import { HangError } from './process.mjs';

/** At least; on a slow machine the compiler takes its time. */
const WARM_UP_MS = 300;
/** A smoke run starts everybody once: starting takes longer than all it does. */
const SMOKE_SETUP = { clients: 10, isOnce: true };

/** The contestants, each with two processes that stay up from one scenario to the next. */
export class Field {
  #peerIds;
  #profileFolder;
  #pairs = new Map();

  /** @param {string} [profileFolder] where both ends of each contestant leave a CPU profile of each case */
  constructor(peerIds, profileFolder) {
    this.#peerIds = peerIds;
    this.#profileFolder = profileFolder;
  }

  /** @returns {Promise<{ title: string, unit: string, cases: { benchCase: Case, samples: Map<string, Sample[]> }[] }>} */
  async run(scenarioId, { rounds, ms, isSmoke, caseIds }) {
    const scenario = { id: scenarioId, ...(await loadScenario(scenarioId)) };
    const setup = isSmoke ? SMOKE_SETUP : (scenario.setup ?? {});
    const isApart = scenario.setup !== undefined && !isSmoke;
    const ids = await peersFor(scenario, this.#peerIds);
    const cases = casesOf(scenario, { isSmoke, caseIds }).map((benchCase) => ({
      benchCase,
      samples: new Map(ids.map((id) => [id, []])),
    }));

    if (isApart) await this.stop();
    // Whoever cannot start says so at its first turn.
    await Promise.allSettled(ids.map((id) => this.#pairOf(id, setup)));
    if (!isSmoke && scenario.measure === undefined)
      await this.#warmUp(scenario, setup, cases, Math.max(ms, WARM_UP_MS));
    const turns = { rounds: setup.isOnce ? 1 : rounds, ms };
    for (const one of cases)
      await this.#profiled(one.benchCase, () => this.#takeTurns(scenario, setup, one, turns));
    if (isApart) await this.stop();
    return { title: scenario.title, unit: scenario.unit, cases };
  }

  async stop() {
    const pairs = [...this.#pairs.values()];
    this.#pairs.clear();
    await Promise.all(pairs.map((pair) => pair.stop()));
  }

  /** So that a disturbance of the machine hits each of them alike. */
  async #takeTurns(scenario, setup, { benchCase, samples }, { rounds, ms }) {
    const ids = [...samples.keys()];
    for (let round = 0; round < Math.min(rounds, benchCase.maxRounds ?? rounds); round++) {
      // Back and forth, so that nobody always runs after the same neighbour.
      for (const id of round % 2 === 0 ? ids : ids.toReversed()) {
        samples.get(id).push(await this.#attempt(scenario, setup, benchCase, id, samples.get(id), ms));
      }
    }
  }

  async #profiled({ id }, work) {
    if (this.#profileFolder === undefined) return work();
    const pairs = [...this.#pairs.values()];
    for (const pair of pairs) await pair.startProfile();
    await work();
    for (const pair of pairs) await pair.stopProfile(join(this.#profileFolder, `${id}-${pair.id}`));
  }

  async #warmUp(scenario, setup, cases, ms) {
    for (const { benchCase, samples } of cases.filter((one) => one.benchCase.isHeavy !== true)) {
      for (const [id, ofPeer] of samples) {
        const sample = await this.#attempt(scenario, setup, benchCase, id, ofPeer, ms);
        if (sample.failure !== undefined) ofPeer.push(sample);
      }
    }
  }

  /** One turn of one contestant. Whoever failed or hung once would do so again, and is not asked again. */
  async #attempt(scenario, setup, benchCase, id, earlier, ms) {
    const failed = earlier.find(({ failure }) => failure !== undefined);
    if (failed !== undefined) return failed;
    try {
      const pair = await this.#pairOf(id, setup);
      return scenario.measure === undefined
        ? await pair.drive(scenario.id, benchCase, ms)
        : await scenario.measure(pair, benchCase);
    } catch (error) {
      await this.#drop(id);
      return { failure: `${error instanceof HangError ? 'hangs' : 'fails'}: ${error.message}` };
    }
  }

  async #pairOf(id, { clients = 1, options }) {
    const running = this.#pairs.get(id);
    if (running !== undefined) return running;
    const pair = await Pair.start(id, { options });
    this.#pairs.set(id, pair);
    try {
      await pair.openClients(clients);
    } catch (error) {
      await this.#drop(id);
      throw error;
    }
    return pair;
  }

  /** Its processes may hear nothing any more. */
  async #drop(id) {
    const pair = this.#pairs.get(id);
    this.#pairs.delete(id);
    await pair?.stop('SIGKILL');
  }
}

async function peersFor({ id: scenarioId, only }, peerIds) {
  const asked = only?.filter((id) => peerIds.includes(id) || VARIANT_IDS.includes(id)) ?? peerIds;
  const peers = await Promise.all(asked.map(async (id) => ({ id, peer: await loadPeer(id) })));
  return peers.filter(({ peer }) => peer.without?.includes(scenarioId) !== true).map(({ id }) => id);
}

function casesOf(scenario, { isSmoke, caseIds }) {
  return scenario.cases
    .filter(({ id }) => caseIds === undefined || caseIds.includes(id))
    .map(({ smoke, ...benchCase }) => (isSmoke ? { ...benchCase, ...smoke } : benchCase));
}
