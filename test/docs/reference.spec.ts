import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join, resolve } from 'node:path';
import * as library from 'nestjs-unix-socket';
import {
  CLIENT_DEFAULTS,
  CLIENT_HEARTBEAT_DEFAULTS,
  RECONNECT_DEFAULTS,
} from '../../lib/options/client-options.js';
import {
  DEDUPLICATION_DEFAULTS,
  RESUME_DEFAULTS,
  SERVER_DEFAULTS,
  SERVER_HEARTBEAT_DEFAULTS,
} from '../../lib/options/server-options.js';
import { ServerDialects } from '../../lib/protocol/dialects.js';
import { knownRules } from '../../lib/cli/conformance/run.js';
import { readVectors } from '../../lib/cli/conformance/vectors.js';
import { readOptionTable } from './tables.js';

const ROOT = resolve(__dirname, '../..');
const read = (name: string): string => readFileSync(join(ROOT, name), 'utf8');

const sources = readdirSync(join(ROOT, 'lib'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts') && !name.startsWith('testing'))
  .map((name) => ({ name, text: read(join('lib', name)) }));

/** `defaults` as rows of a table, those of a group under `prefix`. */
function rows(defaults: object, prefix = ''): [string, unknown][] {
  return Object.entries(defaults).map(([name, value]) => [prefix + name, value]);
}

describe('docs/options.md and README.md', () => {
  const sides = {
    server: [
      ...rows(SERVER_DEFAULTS),
      ...rows(SERVER_HEARTBEAT_DEFAULTS, 'heartbeat.'),
      ...rows(DEDUPLICATION_DEFAULTS, 'deduplication.'),
      ...rows(RESUME_DEFAULTS, 'resume.'),
    ],
    client: [
      ...rows(CLIENT_DEFAULTS),
      ...rows(RECONNECT_DEFAULTS, 'reconnect.'),
      ...rows(CLIENT_HEARTBEAT_DEFAULTS, 'heartbeat.'),
    ],
  };

  describe.each(Object.entries(sides))('options of the %s', (side, defaults) => {
    it('are all in docs/options.md', () => {
      const table = readOptionTable(join(ROOT, 'docs/options.md'), `${side} all`);
      expect([...table.keys()].sort()).toEqual(defaults.map(([name]) => name).sort());
    });

    it.each([
      ['docs/options.md', `${side} all`],
      ['README.md', side],
    ])('have the defaults that %s says', (file, name) => {
      const expected = new Map(defaults);
      for (const [option, value] of readOptionTable(join(ROOT, file), name)) {
        if (value === '') continue; // the address, which has no default
        expect([option, parse(value)]).toEqual([option, expected.get(option)]);
      }
    });
  });
});

describe('docs/errors.md', () => {
  const text = read('docs/errors.md');

  it('has every error class that the package exports', () => {
    const classes = Object.entries(library)
      .filter(
        ([, value]) => typeof value === 'function' && value.prototype instanceof library.UnixSocketError,
      )
      .map(([name]) => name);
    expect(classes.length).toBeGreaterThan(15);
    expect(classes.filter((name) => !text.includes(`\`${name}\``))).toEqual([]);
  });

  it('names only classes that the package exports', () => {
    const named = [...text.matchAll(/`(\w+Error)`/g)].map(([, name = '']) => name);
    expect(named.filter((name) => !(name in library))).toEqual([]);
  });

  it('has every code, or docs/wire.md has it', () => {
    const known = `${text}\n${read('docs/wire.md')}`;
    const codes = new Set<string>();
    for (const source of sources) {
      const pattern = source.name.startsWith('errors') ? /'([A-Z][A-Z_]+)'/g : /'([A-Z]+(?:_[A-Z]+)+)'/g;
      for (const [, code = ''] of source.text.matchAll(pattern)) codes.add(code);
    }
    expect(codes.size).toBeGreaterThan(20);
    const missing = [...codes].filter((code) => !(code in constants.errno) && !known.includes(`\`${code}\``));
    expect(missing).toEqual([]);
  });
});

describe('docs/wire.md', () => {
  const text = read('docs/wire.md');

  it('has every key of a message', () => {
    const body = sources.find(({ name }) => name === join('protocol', 'message-body.ts'))?.text ?? '';
    const [declaration = ''] = /export interface MessageBody \{[\s\S]*?\n\}/.exec(body) ?? [];
    const keys = [...declaration.matchAll(/readonly (\w+)\??:/g)].map(([, key = '']) => key);
    expect(keys).toContain('request_id');
    expect(keys.filter((key) => !text.includes(`\`${key}\``))).toEqual([]);
  });

  it('has every rule that the conformance kit judges, for whom it binds, and marks the others', () => {
    const rows = [...text.matchAll(/^\| `([\w-]+\/[\w-]+)` *(\*?) *\| (S|C|both) +\|/gm)];
    const promised = rows.flatMap(([, id = '', mark, binds]) => {
      if (mark === '*') return [];
      return [...(binds === 'C' ? [] : [`server ${id}`]), ...(binds === 'S' ? [] : [`client ${id}`])];
    });
    const judged = (['server', 'client'] as const).flatMap((role) =>
      knownRules(role).map(({ id }) => `${role} ${id}`),
    );
    expect(promised.sort()).toEqual(judged.sort());
    expect(text).toContain(`wire version ${readVectors().wire}`);
  });

  it('shows the capabilities as they are', () => {
    const { v2 } = new ServerDialects(SERVER_DEFAULTS);
    expect(text).toContain(`"caps":${JSON.stringify(v2.capabilities)}`);
  });
});

describe('docs/architecture.md', () => {
  const text = read('docs/architecture.md');

  it('has every folder of lib', () => {
    const folders = readdirSync(join(ROOT, 'lib'), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => `\`lib/${name}/\``);
    expect(folders.filter((folder) => !text.includes(folder))).toEqual([]);
  });

  it('draws the states that a link has', () => {
    const drawing = sources.find(({ name }) => name === join('client', 'link-state.ts'))?.text ?? '';
    const states = [...drawing.matchAll(/^ {2}(\w+): \[/gm)].map(([, state = '']) => state);
    expect(states).toHaveLength(6);
    expect(states.filter((state) => !text.includes(state))).toEqual([]);
  });
});

describe('Links in the documentation', () => {
  const files = ['README.md', ...readdirSync(join(ROOT, 'docs')).map((name) => join('docs', name))];

  it.each(files)('of %s lead somewhere', (file) => {
    const targets = [...read(file).matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)].map(([, target = '']) => target);
    expect(targets.filter((target) => !existsSync(join(ROOT, file, '..', target)))).toEqual([]);
  });
});

/** A default as the table writes it: JSON, or a string in single quotes, or an octal number. */
function parse(text: string): unknown {
  return /^0o\d+$/.test(text) ? Number(text) : (JSON.parse(text.replaceAll("'", '"')) as unknown);
}
