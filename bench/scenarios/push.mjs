import { setImmediate } from 'node:timers/promises';

export const title = 'Pushes to every client';
export const unit = 'deliveries';

export const setup = { clients: 100 };
export const cases = [{ id: 'push', title: '100 clients, 100 pushes in one go', pushes: 100 }];

const received = new WeakMap();

export async function drive({ client, clients }, { pushes }, ms) {
  let count = await subscribed(clients);
  const start = performance.now();
  let operations = 0;
  do {
    const goal = count.deliveries + pushes * clients.length;
    await client.request('publish', pushes);
    while (count.deliveries < goal) await setImmediate();
    operations += pushes * clients.length;
  } while (performance.now() - start < ms);
  return { operations, seconds: (performance.now() - start) / 1000 };
}

/** Resolves once every client hears pushes. */
async function subscribed(clients) {
  const known = received.get(clients);
  if (known !== undefined) return known;
  const count = { deliveries: 0 };
  received.set(clients, count);
  const silent = new Set(clients);
  for (const client of clients) {
    await client.onPush(() => {
      silent.delete(client);
      count.deliveries++;
    });
  }
  // Some ways to subscribe tell nobody when they are through: whoever hears has subscribed.
  while (silent.size > 0) {
    await clients[0].request('publish', 1);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return count;
}
