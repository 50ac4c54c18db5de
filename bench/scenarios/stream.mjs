export const title = 'A stream whose handler emits everything at once';
export const unit = 'items';

export const cases = [
  { id: 'stream', title: '100,000 small items', items: 100_000, boundMs: 60_000, smoke: { items: 1_000 } },
];

export async function drive({ client }, { items }, ms) {
  const start = performance.now();
  let operations = 0;
  const onItem = () => {
    operations++;
  };
  do await client.stream('items', items, onItem);
  while (performance.now() - start < ms);
  if (operations % items !== 0) throw new Error(`${operations} items came, of ${items} for each stream`);
  return { operations, seconds: (performance.now() - start) / 1000 };
}
