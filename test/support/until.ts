/** Resolves once `isSo`, looking again and again. For what nobody emits an event about; rejects after `timeoutMs`. */
export async function until(isSo: () => boolean | Promise<boolean>, timeoutMs = 5_000): Promise<void> {
  const giveUpAt = performance.now() + timeoutMs;
  while (!(await isSo())) {
    if (performance.now() > giveUpAt) throw new Error(`Not within ${timeoutMs} ms: ${isSo.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
