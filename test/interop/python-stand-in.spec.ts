import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { findPython } from '../support/python-process.js';

const CHECKS = join(__dirname, '../support/python/check_reference_peer.py');
const python = findPython();

(python === undefined ? describe.skip : describe)(
  'The Python stand-in' +
    (python === undefined ? ' (skipped: there is no python3 of version 3.10 or newer on the PATH)' : ''),
  () => {
    it('behaves as the recorded frames and vectors of the original say', async () => {
      // unittest reports on stderr.
      const report = await new Promise<string>((resolve, reject) => {
        execFile(python as string, [CHECKS], { timeout: 25_000 }, (error, _stdout, stderr) =>
          error === null ? resolve(stderr) : reject(new Error(stderr || error.message)),
        );
      });
      expect(report).toMatch(/^Ran [1-9]\d+ tests/m);
      expect(report).toMatch(/^OK$/m);
    }, 30_000);
  },
);
