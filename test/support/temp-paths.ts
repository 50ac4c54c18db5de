import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const created = new Set<string>();
let socketCount = 0;

/** A new empty directory (mode 0700). Removed with all that is in it after the last test of the file. */
export function tempDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'nus-'));
  created.add(dir);
  return dir;
}

/** A path in a new directory where no file is yet. */
export function tempSocketPath(): string {
  return join(tempDir(), `${++socketCount}.sock`);
}

/** For scripts without jest; under jest it is called by itself. */
export function removeTempDirs(): void {
  for (const dir of created) rmSync(dir, { recursive: true, force: true });
  created.clear();
}

if (typeof afterAll === 'function') afterAll(removeTempDirs);
