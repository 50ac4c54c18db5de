import { textOf } from '../support/payloads.mjs';
import { burst } from './burst.mjs';

export const title = 'Giant echoes all at once, in both directions (maxFrameBytes 128 MiB)';
export const unit = 'bursts';

// Whether it ends is the question, so a slow machine gets the time it needs.
export const setup = { options: { maxFrameBytes: 128 * 2 ** 20, requestTimeoutMs: 120_000 } };
export const cases = [
  {
    id: 'burst-64m',
    title: '4 x 64 MB',
    calls: 4,
    bytes: 64_000_000,
    boundMs: 60_000,
    isHeavy: true,
    maxRounds: 1,
    smoke: { bytes: 40_000 },
  },
];

export const drive = ({ client }, { calls, bytes }, ms) => burst(client, calls, textOf(bytes), ms);
