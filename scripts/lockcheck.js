// Two defects of a lock file that show only later, on another machine:
// - a native package whose optional platform packages have no entry of their own makes `npm ci` fail;
// - a registry's address pins every install to the machine the lock was written on.
const { existsSync, readFileSync } = require('node:fs');

function lacks(packages) {
  const present = new Set(Object.keys(packages).map((path) => path.replace(/^.*node_modules\//, '')));
  return Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies)
      .filter((name) => !present.has(name))
      .map((name) => `${path} lacks ${name}`),
  );
}

function addresses(packages) {
  return Object.entries(packages)
    .filter(([, { resolved = '' }]) => /^[a-z+]+:\/\//.test(resolved))
    .map(([path, { resolved }]) => `${path} is resolved to ${resolved}`);
}

const files = ['package-lock.json', 'bench/package-lock.json'].filter((file) => existsSync(file));
for (const file of files) {
  const { packages } = JSON.parse(readFileSync(file, 'utf8'));
  const defects = [...lacks(packages), ...addresses(packages)];
  console.log(`${file}: ${defects.length === 0 ? 'complete' : `\n  ${defects.join('\n  ')}`}`);
  if (defects.length > 0) process.exitCode = 1;
}
