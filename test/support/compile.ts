import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { transformSync, version, type Options } from '@swc/core';

const ROOT = join(__dirname, '../..');
/** Folders whose programs and modules child processes may load. */
const FOLDERS = ['lib', 'test/support/children'];

/** Below `node_modules`, where the packages are found from. One folder for each state of the sources. */
const CACHE = join(ROOT, 'node_modules/.cache/nestjs-unix-socket');
const OPTIONS: Options = {
  swcrc: false,
  jsc: {
    parser: { syntax: 'typescript', decorators: true },
    transform: { legacyDecorator: true, decoratorMetadata: true },
    target: 'es2022',
    keepClassNames: true,
  },
  module: { type: 'commonjs' },
  sourceMaps: 'inline',
};

let compiled: string | undefined;

/**
 * The library and the programs in `test/support/children` as JavaScript, in a directory laid out like the repository,
 * for child processes, which have no jest to compile for them. Returns the directory. Done once for as long as the
 * sources are the same.
 */
export function compileSources(): string {
  compiled ??= compile();
  return compiled;
}

function compile(): string {
  const sources = readSources();
  const hash = createHash('sha256').update(JSON.stringify([version, OPTIONS, sources]));
  const out = join(CACHE, hash.digest('hex').slice(0, 16));
  if (existsSync(out)) return out;
  mkdirSync(CACHE, { recursive: true });
  const making = mkdtempSync(join(CACHE, 'making-'));
  for (const [file, text] of sources) {
    const target = join(making, file.replace(/\.ts$/, '.js'));
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, transformSync(text, { ...OPTIONS, filename: join(ROOT, file) }).code);
  }
  try {
    renameSync(making, out);
  } catch (error) {
    // Another file of tests was faster.
    rmSync(making, { recursive: true });
    if (!existsSync(out)) throw error;
  }
  return out;
}

/** Paths from the root, and texts. */
function readSources(): [file: string, text: string][] {
  return FOLDERS.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .sort()
      .map((name): [string, string] => [join(folder, name), readFileSync(join(ROOT, folder, name), 'utf8')]),
  );
}
