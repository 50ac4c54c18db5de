/** What `promise` rejects with, heard from now on; fails if it resolves. */
export function rejectionOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (value) => {
      throw new Error(`Nothing failed; the outcome is ${JSON.stringify(value)}`);
    },
    (error: unknown) => error,
  );
}
