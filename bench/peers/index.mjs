/** The contestants, in the order of the report. Each id is a file beside this one. */
export const PEER_IDS = ['ours-unix', 'ours-tcp', 'nest-tcp', 'nest-tcp-objects', 'floor'];

/** What the ratios of a report refer to. */
export const BASELINE_ID = 'nest-tcp';
export const FLOOR_ID = 'floor';

/**
 * @typedef {object} Client
 * @property {(type: string, data: unknown) => Promise<unknown>} request
 * @property {() => unknown} close
 *
 * @typedef {object} Peer
 * @property {string} title
 * @property {'unix' | 'tcp'} endpointKind
 * @property {(endpoint: object) => Promise<{ close(): unknown }>} startServer
 * @property {(endpoint: object) => Promise<Client>} createClient resolves when connected
 *
 * @param {string} id
 * @returns {Promise<Peer>}
 */
export function loadPeer(id) {
  if (!PEER_IDS.includes(id)) throw new Error(`unknown peer "${id}"; known: ${PEER_IDS.join(', ')}`);
  return import(`./${id}.mjs`);
}
