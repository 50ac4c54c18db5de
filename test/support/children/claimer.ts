import { lstatSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { AddressInUseError } from '../../../lib/errors/address.errors.js';
import { PathHolder, type HolderOptions } from './path-holder.js';
import { readOptions, takeOrders } from './commands.js';

/** Claims paths in a process of its own, at the same moment as others. */
const { name } = readOptions<{ name: string }>();
const holder = new PathHolder(name);
let isWatching = false;

export type ClaimResult = { readonly won: true } | { readonly won: false; readonly holder: string };

interface ClaimOrder {
  readonly path: string;
  /** When to begin, in milliseconds of the wall clock. */
  readonly at?: number;
  readonly options?: HolderOptions;
}

async function claim({ path, at = 0, options = {} }: ClaimOrder): Promise<ClaimResult> {
  while (Date.now() < at);
  try {
    await holder.claim(path, options);
    return { won: true };
  } catch (error) {
    if (!(error instanceof AddressInUseError)) throw error;
    return { won: false, holder: error.holder };
  }
}

export const commands = {
  claim,
  /** Tries until it has the path; tells how often. */
  async claimAtLast(order: ClaimOrder): Promise<number> {
    for (let attempts = 1; ; attempts++) if ((await claim(order)).won) return attempts;
  },
  close: (): Promise<void> => holder.close(),
  /** Looks at the path all the time until `stopWatching`; tells every mode that the file ever had. */
  async watchModes({ path }: { path: string }): Promise<number[]> {
    const modes = new Set<number>();
    isWatching = true;
    while (isWatching) {
      for (let n = 0; n < 200; n++) {
        const stats = lstatSync(path, { throwIfNoEntry: false });
        if (stats !== undefined) modes.add(stats.mode & 0o777);
      }
      await turn();
    }
    return [...modes];
  },
  stopWatching(): void {
    isWatching = false;
  },
};

takeOrders(commands);
