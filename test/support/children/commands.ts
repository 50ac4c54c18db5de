/** What a child process does on command; the answers go back to the test. */
export type Commands = Record<string, (args: never) => unknown>;

/** A command from the test. */
export interface Order {
  readonly id: number;
  readonly command: string;
  readonly args: unknown;
}

/** The answer to an order, or something that happened by itself. */
export type Report =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: string }
  | { readonly event: string; readonly [fact: string]: unknown };

export function report(what: Report): void {
  // The test may have gone already.
  process.send?.(what, undefined, {}, () => undefined);
}

/** Lets nothing else of this process have its turn for so long, as a handler does that computes. */
export function block({ ms }: { ms: number }): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** Carries out the orders of the test until it goes. */
export function takeOrders(commands: Commands): void {
  process.on('message', ({ id, command, args }: Order) => {
    Promise.resolve()
      .then(() => (commands[command] as (args: unknown) => unknown)(args))
      .then(
        (result) => report({ id, result }),
        (error: unknown) => report({ id, error: String(error) }),
      );
  });
  process.on('disconnect', () => process.exit());
  report({ event: 'ready' });
}

/** The program's options, as the test gave them. */
export function readOptions<T>(): T {
  return JSON.parse(process.argv[2] ?? '{}') as T;
}
