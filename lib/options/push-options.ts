import { InvalidOptionError } from '../errors/option.errors.js';
import { aBoolean, atLeast, oneOf, resolveTable, type Given, type Rules } from './rules.js';

/**
 * What happens to a push for a subscription that is still busy with earlier ones:
 *
 * | overflow     | while fewer than `bufferSize` wait     | beyond                                     |
 * | ------------ | -------------------------------------- | ------------------------------------------ |
 * | `dropOldest` | waits                                  | the push that has waited longest is dropped |
 * | `dropNewest` | waits                                  | this push is dropped                       |
 * | `latest`     | replaces the waiting one with its key  | the push that has waited longest is dropped |
 * | `error`      | waits                                  | the subscription ends, with an error       |
 */
export type PushOverflow = 'dropOldest' | 'dropNewest' | 'latest' | 'error';

/** How one subscription takes its pushes, with defaults filled in. */
export interface PushSettings {
  /** Pushes that may wait for this subscription. @default the client's `maxQueuedPushes` */
  bufferSize: number;
  /** @default 'dropOldest' */
  overflow: PushOverflow;
  /** For `latest`: which value a push is the newest of. @default of its type */
  key: ((data: never, type: string) => string) | undefined;
  /**
   * Whether `*` stands for one segment of the type between dots, and `>` for one or more at its end, as in NATS.
   * @default false
   */
  wildcards: boolean;
}

/** What a subscription may be given. */
export type PushSubscriptionOptions = Given<PushSettings>;

const RULES: Rules<PushSettings> = {
  bufferSize: atLeast(1),
  overflow: oneOf('dropOldest', 'dropNewest', 'latest', 'error'),
  key: {
    expected: 'a function that gives a string',
    accepts: (value) => value === undefined || typeof value === 'function',
  },
  wildcards: aBoolean,
};

/** @throws InvalidOptionError */
export function resolvePushOptions(
  options: PushSubscriptionOptions | undefined,
  bufferSize: number,
): Readonly<PushSettings> {
  const settings = resolveTable(
    options,
    { bufferSize, overflow: 'dropOldest', key: undefined, wildcards: false },
    RULES,
  );
  if (settings.key !== undefined && settings.overflow !== 'latest')
    throw new InvalidOptionError('key', settings.key, 'none beside another policy than "latest"');
  return settings;
}
