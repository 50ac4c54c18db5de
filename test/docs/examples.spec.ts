import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { inspect } from 'node:util';
import { Logger } from '@nestjs/common';
import { Link, SocketServer } from 'nestjs-unix-socket';
import ts from 'typescript';
import { tempSocketPath } from '../support/temp-paths.js';
import { readPrograms, type DocProgram } from './code-blocks.js';

const ROOT = resolve(__dirname, '../..');
/** The address in the examples; while one runs it stands for a path of its own. */
const EXAMPLE_PATH = '/run/app/app.sock';

const programs = ['README.md', ...readdirSync(join(ROOT, 'docs')).map((name) => join('docs', name))]
  .filter((name) => name.endsWith('.md'))
  .flatMap((name) => readPrograms(ROOT, name));

describe('Examples in the documentation', () => {
  it('are there', () => {
    expect(programs.filter(({ isRun }) => isRun).length).toBeGreaterThan(0);
  });

  it('are type-correct against the package', () => {
    expect(typeErrors(programs)).toEqual([]);
  }, 60_000);

  it.each(programs.filter(({ isRun }) => isRun).map((program) => [program.label, program] as const))(
    'give what they say: %s',
    async (_label, program) => {
      Logger.overrideLogger(false);
      expect(await run(program)).toEqual(program.promised);
    },
  );
});

/** One program of all examples, compiled as a user's ESM app would be. */
function typeErrors(examples: readonly DocProgram[]): string[] {
  const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), (path) => ts.sys.readFile(path));
  // Full names of files, which ESM asks for: otherwise the package's name would lead to `dist`, if that is there.
  const { options } = ts.parseJsonConfigFileContent({ ...(config as object), include: [] }, ts.sys, ROOT, {
    types: ['node'],
    noUnusedLocals: false,
    noUnusedParameters: false,
    paths: {
      'nestjs-unix-socket': ['./lib/index.ts'],
      'nestjs-unix-socket/testing': ['./lib/testing/index.ts'],
    },
  });
  const sources = new Map(
    examples.map((example, index) => [join(ROOT, 'test/docs', `example-${index}.mts`), example]),
  );
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile } = host;
  const sourceFile = host.getSourceFile.bind(host);
  host.fileExists = (path) => sources.has(path) || fileExists.call(host, path);
  host.readFile = (path) => sources.get(path)?.source ?? readFile.call(host, path);
  host.getSourceFile = (path, version, ...rest) => {
    const example = sources.get(path);
    return example === undefined
      ? sourceFile(path, version, ...rest)
      : ts.createSourceFile(path, example.source, version);
  };
  const compiled = ts.createProgram([...sources.keys()], options, host);
  return [...sources].flatMap(([path, { label, source }]) => {
    const file = compiled.getSourceFile(path);
    const problems = [...compiled.getSyntacticDiagnostics(file), ...compiled.getSemanticDiagnostics(file)];
    return problems.map(({ messageText, start = 0 }) => {
      const line = source.slice(0, start).split('\n').length - 1;
      const text = ts.flattenDiagnosticMessageText(messageText, ' ');
      return `${label}: ${source.split('\n')[line]?.trim()}: ${text}`;
    });
  });
}

type Body = (
  require: (name: string) => unknown,
  exports: object,
  console: { log(...values: unknown[]): void },
) => Promise<void>;

/** Runs an example and returns what it logs, line by line. */
async function run({ source }: DocProgram): Promise<string[]> {
  const { outputText } = ts.transpileModule(source.replaceAll(EXAMPLE_PATH, tempSocketPath()), {
    compilerOptions: {
      module: ts.ModuleKind.CommonJS,
      target: ts.ScriptTarget.ES2022,
      experimentalDecorators: true,
      emitDecoratorMetadata: true,
    },
  });
  const AsyncFunction = (async () => undefined).constructor as new (...args: string[]) => Body;
  const lines: string[] = [];
  const log = (...values: unknown[]): void => {
    const texts = values.map((value) =>
      typeof value === 'string' ? value : inspect(value, { breakLength: Infinity }),
    );
    lines.push(texts.join(' '));
  };
  const opened = observeOpened();
  try {
    // Under jest this `require` knows the package by its name.
    await new AsyncFunction('require', 'exports', 'console', outputText)(require, {}, { log });
  } finally {
    // One that fails half-way has not come to its own closing, and would keep jest from ending.
    await Promise.all([...opened].map((end) => end.close()));
    jest.restoreAllMocks();
  }
  return lines;
}

/** Fills with every server and link that an example sets to work. */
function observeOpened(): Set<Link | SocketServer> {
  const opened = new Set<Link | SocketServer>();
  const { listen } = SocketServer.prototype;
  jest.spyOn(SocketServer.prototype, 'listen').mockImplementation(function (this: SocketServer) {
    opened.add(this);
    return listen.call(this);
  });
  const { connect, call, emit } = Link.prototype;
  jest.spyOn(Link.prototype, 'connect').mockImplementation(function (this: Link) {
    opened.add(this);
    return connect.call(this);
  });
  jest.spyOn(Link.prototype, 'call').mockImplementation(function (this: Link, ...args) {
    opened.add(this);
    return call.apply(this, args);
  });
  jest.spyOn(Link.prototype, 'emit').mockImplementation(function (this: Link, ...args) {
    opened.add(this);
    return emit.apply(this, args);
  });
  return opened;
}
