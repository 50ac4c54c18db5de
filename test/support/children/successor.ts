import { askForPath, type Consent } from '../../../lib/server/take-over.js';
import { takeOrders } from './commands.js';
import { PathHolder } from './path-holder.js';

/** Takes a path over step by step, so that it can be killed in between. */
const holder = new PathHolder('successor');
let consent: Consent | undefined;

export const commands = {
  /** Whether the owner consents. */
  async ask({ path }: { path: string }): Promise<boolean> {
    consent = await askForPath(path, 1024 * 1024);
    return consent !== undefined;
  },
  /** Puts its own socket at the path, and does not tell. */
  async place({ path }: { path: string }): Promise<void> {
    await holder.claim(path, { mayReplace: (key) => consent?.covers(key) === true });
  },
  tell: (): void => consent?.release(),
};

takeOrders(commands);
