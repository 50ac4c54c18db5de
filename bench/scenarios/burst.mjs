import { textOf } from '../support/payloads.mjs';

export const title = 'Large echoes all at once, in both directions';
export const unit = 'bursts';

const MB = 1_000_000;

export const cases = [{ id: 'burst-1m', title: '16 x 1 MB', calls: 16, bytes: MB, smoke: { bytes: 10_000 } }];

export const drive = ({ client }, { calls, bytes }, ms) => burst(client, calls, textOf(bytes), ms);

export async function burst(client, calls, text, ms) {
  const latencies = [];
  const start = performance.now();
  let now = start;
  do {
    const called = now;
    await Promise.all(Array.from({ length: calls }, () => client.request('echoText', text)));
    now = performance.now();
    latencies.push(now - called);
  } while (now - start < ms);
  return { operations: latencies.length, seconds: (now - start) / 1000, latencies };
}
