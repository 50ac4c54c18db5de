/** The contestants, in the order of the report. Each id is a file beside this one. */
export const PEER_IDS = [
  'ours-unix',
  'ours-tcp',
  'ours-msgpack',
  'nest-tcp',
  'nest-tcp-objects',
  'nest-grpc',
  'node-ipc',
  'zeromq',
  'http-unix',
  'floor',
];

/** Variants of ours that only one scenario asks for. */
export const VARIANT_IDS = ['ours-cluster-1', 'ours-cluster-2'];

/** What the ratios of a report refer to. */
export const BASELINE_ID = 'nest-tcp';
export const FLOOR_ID = 'floor';

/**
 * @typedef {object} Client
 * @property {(name: string, data: unknown) => Promise<unknown>} request
 * @property {(name: string, data: unknown) => void} emit
 * @property {(name: string, data: unknown, onItem: (item: unknown) => void) => Promise<unknown>} stream ends with it
 * @property {(listener: (data: unknown) => void) => unknown} onPush
 * @property {() => unknown} close
 *
 * @typedef {object} Peer
 * @property {string} title
 * @property {'unix' | 'tcp'} endpointKind
 * @property {string[]} [without] scenarios it has nothing for
 * @property {(endpoint: object, options: object) => Promise<{ publish(data: unknown): void, close(): unknown }>} startServer
 * @property {(endpoint: object, options: object) => Client | Promise<Client>} createClient resolves when connected
 *
 * @param {string} id
 * @returns {Promise<Peer>}
 */
export function loadPeer(id) {
  if (!PEER_IDS.includes(id) && !VARIANT_IDS.includes(id))
    throw new Error(`unknown peer "${id}"; known: ${PEER_IDS.join(', ')}`);
  return import(`./${id}.mjs`);
}
