// @swc/jest also compiles @nestjs/* (ESM since v12) to CommonJS: plain `jest` runs on every Node >= 20 with Nest 11 and 12.
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
};
const src = {
  '^nestjs-unix-socket$': '<rootDir>/lib/index.ts',
  '^nestjs-unix-socket/testing$': '<rootDir>/lib/testing/index.ts',
  '^(\\.{1,2}/.*)\\.js$': '$1',
};
const nest11 = {
  '^@nestjs/(common|core|microservices|platform-express|testing)(/.*)?$': '<rootDir>/test/nest11/node_modules/@nestjs/$1$2',
};
const e2e = ['<rootDir>/test/e2e/**/*.spec.ts'];

module.exports = {
  reporters: ['default', '<rootDir>/test/support/tally-reporter.js'],
  testTimeout: 15_000,
  coverageProvider: 'v8',
  collectCoverageFrom: ['lib/**/*.ts'],
  projects: [
    { ...base, displayName: 'unit', moduleNameMapper: src, testMatch: ['<rootDir>/test/unit/**/*.spec.ts'] },
    { ...base, displayName: 'interop', moduleNameMapper: src, testMatch: ['<rootDir>/test/interop/**/*.spec.ts'] },
    { ...base, displayName: 'e2e', moduleNameMapper: src, testMatch: e2e },
    { ...base, displayName: 'e2e-nest11', moduleNameMapper: { ...nest11, ...src }, testMatch: e2e },
  ],
};
