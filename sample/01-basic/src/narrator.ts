import { inspect, styleText } from 'node:util';

/** Who can be heard in this story. */
export type Speaker = 'client' | 'server' | 'python';

const COLOURS = { client: 'cyan', server: 'yellow', python: 'green' } as const;

/** Both processes count from the same moment: the parent's start, which it hands to its child. */
export const storyStart = Number(process.env['STORY_START'] ?? Date.now());

/** One line: when, who, what, and the rest. */
export function say(who: Speaker, what: string, text: string): void {
  const seconds = ((Date.now() - storyStart) / 1_000).toFixed(2);
  write(
    `${paint('dim', `${seconds.padStart(5)} s`)}  ${paint(COLOURS[who], who)}  ${what.padEnd(10)}  ${text}`,
  );
}

export function headline(text: string): void {
  write(`\n${paint('bold', text)}`);
}

export function write(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** A value on one line. */
export function show(value: unknown): string {
  return inspect(value, { breakLength: Infinity, depth: 4 });
}

export function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function paint(style: Parameters<typeof styleText>[0], text: string): string {
  return process.stdout.isTTY && process.env['NO_COLOR'] === undefined ? styleText(style, text) : text;
}
