const { availableParallelism } = require('node:os');

// Nest 12 is ESM only, which plain jest cannot load. @swc/jest therefore compiles @nestjs/* to CommonJS as well,
// so that `jest` runs without flags, on every supported Node, with Nest 11 and with Nest 12.
const swc = [
  '@swc/jest',
  {
    jsc: {
      parser: { syntax: 'typescript', decorators: true },
      transform: { legacyDecorator: true, decoratorMetadata: true },
      target: 'es2022',
      keepClassNames: true,
    },
    module: { type: 'commonjs' },
    sourceMaps: 'inline',
  },
];

const base = {
  rootDir: __dirname,
  testEnvironment: 'node',
  transform: { '^.+\\.[tj]s$': swc },
  transformIgnorePatterns: ['/node_modules/(?!@nestjs/)'],
  // The same folder compiled and packed: a second copy of the package's name would confuse the module map.
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/.samples/'],
};

const source = {
  '^nestjs-unix-socket$': '<rootDir>/lib/index.ts',
  '^nestjs-unix-socket/testing$': '<rootDir>/lib/testing/index.ts',
  // Sources import each other as the compiled files will be called.
  '^(\\.{1,2}/.*)\\.js$': '$1',
};

const nest11 = {
  '^@nestjs/(common|core|microservices|platform-express|testing)(/.*)?$':
    '<rootDir>/test/nest11/node_modules/@nestjs/$1$2',
};

// What these look at lies below Nest or hardly touches it: a thorough run repeats them on Nest 11, an everyday one does not.
const belowNest = [
  'bad-input',
  'bounded-memory',
  'busy-server',
  'codecs',
  'inherited-sockets',
  'lifecycle-cancellation',
  'lifecycle-delivery',
  'lifecycle-ends',
  'lifecycle-fake-time',
  'lifecycle-offline',
  'limits',
  'liveness',
  'push-resume',
  'socket-path',
  'stopped-peer',
  'stream-credit',
  'take-over',
  'unread-answers',
  'vectors',
  'version-1',
];
// Crowds of processes, and megabytes that nobody reads: they take too long for every day.
const heavy = ['bounded-memory', 'busy-server', 'inherited-sockets', 'socket-file-race', 'stopped-peer'];
const isThorough = process.env.THOROUGH === '1';
const unlessThorough = (specs) => (isThorough ? [] : [`/(${specs.join('|')})\\.spec\\.ts$`]);

const project = (displayName, folder, moduleNameMapper = source) => ({
  ...base,
  displayName,
  moduleNameMapper,
  testMatch: [`<rootDir>/test/${folder}/**/*.spec.ts`],
  testPathIgnorePatterns: unlessThorough(heavy),
});

module.exports = {
  reporters: ['default', '<rootDir>/test/support/tally-reporter.js'],
  // For a machine that has other things to do as well; what has to be fast says so itself.
  testTimeout: 30_000,
  // Many tests wait for other processes: one worker for each core, and one more.
  maxWorkers: availableParallelism() + 1,
  coverageProvider: 'v8',
  collectCoverageFrom: ['lib/**/*.ts'],
  projects: [
    project('unit', 'unit'),
    project('e2e', 'e2e'),
    {
      ...project('e2e-nest11', 'e2e', { ...nest11, ...source }),
      testPathIgnorePatterns: unlessThorough(belowNest),
    },
    project('interop', 'interop'),
    project('docs', 'docs'),
  ],
};
