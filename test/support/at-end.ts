const ends: (() => unknown)[] = [];

/** Runs `end` after the present test, in the reverse order of the calls; also when the test fails. */
export function atEnd(end: () => unknown): void {
  ends.push(end);
}

afterEach(async () => {
  const failures: unknown[] = [];
  for (const end of ends.splice(0).toReversed()) {
    try {
      await end();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
});
