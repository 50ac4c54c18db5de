import { styleText } from 'node:util';

const startedAt = Date.now();

export function say(who: string, text: string): void {
  const seconds = ((Date.now() - startedAt) / 1_000).toFixed(2);
  write(`${paint('dim', `${seconds.padStart(5)} s`)}  ${paint('cyan', who.padEnd(9))} ${text}`);
}

export function headline(text: string): void {
  write(`\n${paint('bold', text)}`);
}

export function table(rows: readonly (readonly unknown[])[]): void {
  for (const [name, ...cells] of rows) {
    write(`  ${String(name).padEnd(12)}${cells.map((cell) => String(cell).padStart(14)).join('')}`);
  }
}

function write(line: string): void {
  process.stdout.write(`${line}\n`);
}

function paint(style: Parameters<typeof styleText>[0], text: string): string {
  return process.stdout.isTTY && process.env['NO_COLOR'] === undefined ? styleText(style, text) : text;
}
