import { isDeepStrictEqual } from 'node:util';
import type { Outcome, Report } from './client-bench.js';
import { show, type RawPeer } from './raw-peer.js';

/** The first call of the report has come to this. An error has to contain the text. */
export function expectOutcome(
  peer: RawPeer,
  { outcomes, received }: Report,
  expected: { readonly result: unknown } | { readonly error: string },
): void {
  const outcome = outcomes[0] ?? {};
  const isMet =
    'error' in expected
      ? typeof outcome.error === 'string' && outcome.error.includes(expected.error)
      : outcome.error === undefined && isDeepStrictEqual(outcome.result ?? null, expected.result);
  if (!isMet) throw peer.broken(`the outcome ${show(expected)}`, show(outcome), received.bytes);
}

/** The call has failed, whatever the error says. */
export function expectFailure(peer: RawPeer, { outcomes, received }: Report): void {
  const outcome: Outcome = outcomes[0] ?? {};
  peer.expect(outcome.error !== undefined, 'an outcome that is an error', received);
}
