/**
 * Calls a listener of the application. What it throws becomes an uncaught exception, as with any listener that Node
 * calls, but not in the midst of ours: the state has to be right for whoever catches it.
 */
export function tell(listener: () => void): void {
  try {
    listener();
  } catch (error) {
    process.nextTick(() => {
      throw error as Error;
    });
  }
}
