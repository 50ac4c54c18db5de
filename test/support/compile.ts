import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { transformSync } from '@swc/core';
import { tempDir } from './temp-paths.js';

const ROOT = join(__dirname, '../..');
/** Folders whose programs and modules child processes may load. */
const FOLDERS = ['lib', 'test/support/children'];

let compiled: string | undefined;

/**
 * The library and the programs in `test/support/children` as JavaScript, in a temporary directory laid out like the
 * repository, for child processes, which have no jest to compile for them. Returns the directory. Once for each file
 * of tests.
 */
export function compileSources(): string {
  compiled ??= compile();
  return compiled;
}

function compile(): string {
  const out = tempDir();
  symlinkSync(join(ROOT, 'node_modules'), join(out, 'node_modules'));
  for (const folder of FOLDERS) {
    for (const name of readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })) {
      if (!name.endsWith('.ts')) continue;
      const source = join(ROOT, folder, name);
      const target = join(out, folder, name.replace(/\.ts$/, '.js'));
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(target, toJavaScript(source));
    }
  }
  return out;
}

function toJavaScript(file: string): string {
  return transformSync(readFileSync(file, 'utf8'), {
    filename: file,
    swcrc: false,
    jsc: {
      parser: { syntax: 'typescript', decorators: true },
      transform: { legacyDecorator: true, decoratorMetadata: true },
      target: 'es2022',
      keepClassNames: true,
    },
    module: { type: 'commonjs' },
    sourceMaps: 'inline',
  }).code;
}
