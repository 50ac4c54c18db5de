import { readFileSync } from 'node:fs';

/** The first two cells of each row of the table behind `<!-- options: <name> -->`. */
export function readOptionTable(file: string, name: string): Map<string, string> {
  const text = readFileSync(file, 'utf8');
  const start = text.indexOf(`<!-- options: ${name} -->`);
  if (start < 0) throw new Error(`${file} has no table of the options of "${name}"`);
  const [table = ''] = text.slice(start).split('-->\n\n')[1]?.split('\n\n', 1) ?? [];
  const rows = table.trim().split('\n').slice(2);
  return new Map(
    rows.map((row) => {
      const [, option = '', value = ''] = row.split('|').map((cell) => cell.trim());
      return [option.replaceAll('`', ''), value.replaceAll('`', '')];
    }),
  );
}
