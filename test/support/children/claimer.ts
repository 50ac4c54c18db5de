import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { AddressInUseError } from '../../../lib/errors/address.errors.js';
import { PathHolder, type HolderOptions } from './path-holder.js';
import { readOptions, takeOrders } from './commands.js';

/** Claims paths in a process of its own, at the same moment as others. */
const { name } = readOptions<{ name: string }>();
const holder = new PathHolder(name);
let others: PathHolder[] = [];
let isWatching = false;

export type ClaimResult = { readonly won: true } | { readonly won: false; readonly holder: string };

interface ClaimOrder {
  readonly path: string;
  /** When to begin, in milliseconds of the wall clock. */
  readonly at?: number;
  readonly options?: HolderOptions;
}

async function claim({ path, at = 0, options = {} }: ClaimOrder, claimant = holder): Promise<ClaimResult> {
  while (Date.now() < at);
  try {
    await claimant.claim(path, options);
    return { won: true };
  } catch (error) {
    if (!(error instanceof AddressInUseError)) throw error;
    return { won: false, holder: error.holder };
  }
}

export const commands = {
  claim: (order: ClaimOrder): Promise<ClaimResult> => claim(order),
  /** Several paths at once. */
  claimEach({ paths, at }: { paths: string[]; at: number }): Promise<ClaimResult[]> {
    others = paths.map(() => new PathHolder(name));
    return Promise.all(others.map((other, n) => claim({ path: paths[n] as string, at }, other)));
  },
  /** Tries until it has the path; tells how often. */
  async claimAtLast(order: ClaimOrder): Promise<number> {
    for (let attempts = 1; ; attempts++) if ((await claim(order)).won) return attempts;
  },
  async close(options: { drainMs?: number } = {}): Promise<void> {
    await Promise.all([holder, ...others].map((each) => each.close(options)));
  },
  /** Looks into the directory all the time until `stopWatching`; tells every mode and group that a socket had in it. */
  async watchModes({ directory }: { directory: string }): Promise<string[]> {
    const seen = new Set<string>();
    isWatching = true;
    while (isWatching) {
      for (let n = 0; n < 50; n++) {
        for (const file of readdirSync(directory)) {
          const stats = lstatSync(join(directory, file), { throwIfNoEntry: false });
          if (stats?.isSocket() === true) seen.add(`${(stats.mode & 0o777).toString(8)} of ${stats.gid}`);
        }
      }
      await turn();
    }
    return [...seen];
  },
  stopWatching(): void {
    isWatching = false;
  },
};

takeOrders(commands);
