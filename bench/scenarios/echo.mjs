export const title = 'Echo of a small object (about 120 bytes of JSON)';
export const unit = 'calls';

export const cases = [1, 16, 128, 512].map((concurrency) => ({
  title: `${concurrency} at once`,
  concurrency,
}));

const PAYLOAD = {
  id: 12345,
  symbol: 'EUR-USD spot',
  side: 'buy',
  price: 1234.5678,
  quantity: 42,
  note: 'a small order, nothing else',
  at: 1700000000000,
};

export async function drive(client, { concurrency }, ms) {
  const latencies = [];
  const start = performance.now();
  const end = start + ms;
  let operations = 0;
  // Each caller waits for its answer before the next call, so `concurrency` calls are always under way.
  const caller = async () => {
    let now = performance.now();
    while (now < end) {
      const called = now;
      await client.request('echo', PAYLOAD);
      now = performance.now();
      operations++;
      // Under load the waiting is in the queue of the other callers and says nothing about the transport.
      if (concurrency === 1) latencies.push(now - called);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, caller));
  return { operations, seconds: (performance.now() - start) / 1000, latencies };
}
