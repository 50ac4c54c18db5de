// The package as its users get it: packed, installed into scratch folders, used from a CommonJS and an ES module
// app, with the Nest this repository develops on and with the oldest one the peer range allows.
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NEST = ['@nestjs/common', '@nestjs/core', '@nestjs/microservices'];
const PACKED = /^(dist\/.*|conformance\/vectors\.json|package\.json|README\.md|LICENSE|CHANGELOG\.md)$/;

const root = fileURLToPath(new URL('..', import.meta.url));
const { peerDependencies, devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const scratch = mkdtempSync(join(tmpdir(), 'smoke-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));

const tarball = pack();
tryOut('development', (name) => devDependencies[name]);
tryOut('oldest', (name) => peerDependencies[name].match(/\d+\.\d+\.\d+/)[0]);

function pack() {
  const { stdout } = run('npm', ['pack', '--json', '--pack-destination', scratch], root);
  const [{ filename, files }] = JSON.parse(stdout);
  const paths = files.map(({ path }) => path);
  const stray = paths.filter((path) => !PACKED.test(path));
  if (stray.length > 0) throw new Error(`Packed by mistake: ${stray.join(', ')}`);
  if (!paths.includes('dist/index.js')) throw new Error('Nothing built: npm run build');
  console.log(`${filename}: ${paths.length} files`);
  return join(scratch, filename);
}

function tryOut(label, versionOf) {
  const folder = join(scratch, label);
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: `smoke-${label}`, private: true }));
  cpSync(join(root, 'scripts/smoke'), folder, { recursive: true });

  const nest = NEST.map((name) => `${name}@${versionOf(name)}`);
  const flags = ['--strict-peer-deps', '--no-package-lock', '--no-audit', '--no-fund', '--loglevel=error'];
  run('npm', ['install', ...flags, tarball, ...nest, 'rxjs@7', 'reflect-metadata@0.2'], folder);

  const installed = NEST.map((name) => `${name} ${versionIn(folder, name)}`).join(', ');
  for (const app of ['app.cjs', 'app.mjs']) {
    // Must end by itself: the time limit is a failure. So is a warning, from Node or from Nest.
    const { stderr } = run(process.execPath, [app], folder, 30_000);
    if (stderr !== '') throw new Error(`${app} with ${installed} complains:\n${stderr}`);
    console.log(`${app} with ${installed}: ok`);
  }
  tryOutCommand(folder);
}

/** The command as `npx` finds it: the application and the kit as two processes. */
function tryOutCommand(folder) {
  const command = join(folder, 'node_modules/.bin/nestjs-unix-socket');
  const path = join(folder, 'conformance.sock');
  const application = spawn(command, ['conformance-app', path, '--role', 'client'], { stdio: 'inherit' });
  try {
    const kit = ['conformance', path, '--role', 'client', '--level', 'full'];
    const { stdout } = run(command, kit, folder, 60_000);
    const [, summary] = /^(\d+ passed, 0 failed, 0 skipped)$/m.exec(stdout) ?? [];
    if (summary === undefined) throw new Error(`The kit says:\n${stdout}`);
    console.log(`nestjs-unix-socket conformance: ${summary}`);
  } finally {
    application.kill();
  }
}

function versionIn(folder, name) {
  return JSON.parse(readFileSync(join(folder, 'node_modules', name, 'package.json'), 'utf8')).version;
}

function run(command, args, cwd, timeout = 180_000) {
  const { status, signal, stdout, stderr } = spawnSync(command, args, { cwd, timeout, encoding: 'utf8' });
  if (status === 0) return { stdout, stderr };
  throw new Error(`${command} ${args.join(' ')} ended with ${signal ?? status}\n${stdout}${stderr}`);
}
