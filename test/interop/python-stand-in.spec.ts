import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { findPython } from '../support/python-process.js';

const CHECKS = join(__dirname, '../support/python/check_reference_peer.py');
const python = findPython();

(python === undefined ? describe.skip : describe)(
  'The Python stand-in' +
    (python === undefined ? ' (skipped: there is no python3 of version 3.10 or newer on the PATH)' : ''),
  () => {
    it('behaves as the recorded frames and vectors of the original say', async () => {
      const source = readFileSync(CHECKS, 'utf8');
      const cases = [...source.matchAll(/^class (\w+)\((?:PeerCase|unittest\.TestCase)\)/gm)];
      expect(cases.length).toBeGreaterThan(4);
      // They spend their time waiting, so they wait together.
      const reports = await Promise.all(cases.map(([, name]) => check(name as string)));
      for (const report of reports) expect(report).toMatch(/^Ran [1-9]\d* tests? in [\d.]+s\n\nOK$/m);
    }, 30_000);
  },
);

/** What unittest reports, on stderr, of one class of checks. */
function check(name: string): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(python as string, [CHECKS, name], { timeout: 25_000 }, (error, _stdout, stderr) =>
      error === null ? resolve(stderr) : reject(new Error(stderr || error.message)),
    );
  });
}
