/** What a command is given of its process. */
export interface CommandIo {
  /** A line for standard output. */
  print(line: string): void;
  /** A line for standard error. */
  complain(line: string): void;
  /** Fires when the process is asked to end. */
  readonly signal: AbortSignal;
}

/** A mistake in the command line. */
export class UsageError extends Error {}

export const ExitCode = { Passed: 0, Failed: 1, NotRun: 2 } as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** @throws UsageError */
export function oneOf<Word extends string>(option: string, words: readonly Word[], given: string): Word {
  const word = words.find((candidate) => candidate === given);
  if (word === undefined) throw new UsageError(`--${option} is one of ${words.join(', ')}, not "${given}"`);
  return word;
}
