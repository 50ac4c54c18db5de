import { keepCalling } from '../support/callers.mjs';
import { bytesOf, textOf } from '../support/payloads.mjs';

export const title = 'Echo of large values';
export const unit = 'MB';

const KB = 1_000;
const MB = 1_000 * KB;

const SMALL = { bytes: 10 * KB };

export const cases = [
  { id: 'text-10k', title: '10 KB string, 4 at once', name: 'echoText', bytes: 10 * KB, concurrency: 4 },
  {
    id: 'text-1m',
    title: '1 MB string, 4 at once',
    name: 'echoText',
    bytes: MB,
    concurrency: 4,
    smoke: SMALL,
  },
  {
    id: 'bytes-1m',
    title: '1 MB Buffer, 1 at a time',
    name: 'echoBytes',
    bytes: MB,
    concurrency: 1,
    smoke: SMALL,
  },
].map((benchCase) => ({ ...benchCase, unitsPerOperation: benchCase.bytes / MB }));

export function drive({ client }, { name, bytes, concurrency }, ms) {
  const data = name === 'echoText' ? textOf(bytes) : bytesOf(bytes);
  return keepCalling(() => client.request(name, data), concurrency, ms);
}
