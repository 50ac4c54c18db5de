import { keepCalling } from '../support/callers.mjs';
import { ORDER } from '../support/handlers.mjs';

export const title = 'Echo of a small object (about 120 bytes of JSON)';
export const unit = 'calls';

export const cases = [1, 16, 128, 512].map((concurrency) => ({
  id: `echo-${concurrency}`,
  title: `${concurrency} at once`,
  concurrency,
}));

export function drive({ client }, { concurrency }, ms) {
  return keepCalling(() => client.request('echo', ORDER), concurrency, ms);
}
