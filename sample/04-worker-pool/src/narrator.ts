/** All processes count from the same moment: the supervisor's start, which it hands to its workers. */
export const storyStart = Number(process.env['STORY_START'] ?? Date.now());

/** One line: when, who, and what. */
export function say(who: string, text: string): void {
  const seconds = ((Date.now() - storyStart) / 1_000).toFixed(2);
  process.stdout.write(`${seconds.padStart(6)} s  ${who.padEnd(5)} ${text}\n`);
}

export function headline(text: string): void {
  process.stdout.write(`\n${text}\n`);
}
