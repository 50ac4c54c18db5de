import { ORDER } from '../support/handlers.mjs';

export const title = 'Events, until the last one is handled';
export const unit = 'events';

export const cases = [{ id: 'events', title: 'bursts of 2,000', burst: 2_000, smoke: { burst: 20 } }];

export async function drive({ client }, { burst }, ms) {
  const first = await client.request('seen', 0);
  const start = performance.now();
  let operations = 0;
  do {
    for (let i = 0; i < burst; i++) client.emit('note', ORDER);
    operations += burst;
    // Where events and requests keep their order, the first answer is the last.
    while ((await client.request('seen', 0)) - first < operations);
  } while (performance.now() - start < ms);
  return { operations, seconds: (performance.now() - start) / 1000 };
}
