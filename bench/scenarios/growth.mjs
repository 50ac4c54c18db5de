import { keepCalling } from '../support/callers.mjs';
import { ORDER } from '../support/handlers.mjs';
import { textOf } from '../support/payloads.mjs';

export const title = 'Does the cost grow? One call at a time';
export const unit = 'calls';

export const setup = { clients: 1_000 };
/** It asks how cost grows, not who is faster. */
export const only = ['ours-unix', 'ours-tcp', 'nest-tcp', 'floor'];
export const cases = [
  ...[1, 10, 100, 1_000].map((connections) => ({
    id: `growth-${connections}-connections`,
    title: `small echo, each call on the next of ${connections} connections`,
    connections,
  })),
  ...[100, 10_000, 1_000_000, 16_000_000].map((bytes) => ({
    id: `growth-${bytes}-bytes`,
    title: `${bytes.toLocaleString('en-US')} bytes of text, in MB`,
    unit: 'MB',
    connections: 1,
    bytes,
    unitsPerOperation: bytes / 1_000_000,
    isHeavy: bytes > 1_000_000,
    smoke: { bytes: Math.min(bytes, 100_000) },
  })),
];

export function drive({ clients }, { connections, bytes }, ms) {
  const [name, data] = bytes === undefined ? ['echo', ORDER] : ['echoText', textOf(bytes)];
  let next = 0;
  return keepCalling(() => clients[(next++ % connections) % clients.length].request(name, data), 1, ms);
}
