/**
 * Keeps `concurrency` calls under way for `ms`, at least one each: each caller waits for its answer before the next.
 * @param {(caller: number) => Promise<unknown>} call
 * @returns {Promise<import('../scenarios/index.mjs').Sample>}
 */
export async function keepCalling(call, concurrency, ms) {
  const latencies = [];
  const start = performance.now();
  const end = start + ms;
  let operations = 0;
  const caller = async (index) => {
    let now = performance.now();
    do {
      const called = now;
      await call(index);
      now = performance.now();
      operations++;
      // Under load the waiting is in the queue of the other callers and says nothing about the transport.
      if (concurrency === 1) latencies.push(now - called);
    } while (now < end);
  };
  await Promise.all(Array.from({ length: concurrency }, (_, index) => caller(index)));
  return { operations, seconds: (performance.now() - start) / 1000, latencies };
}
