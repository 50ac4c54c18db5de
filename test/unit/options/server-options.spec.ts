import { InvalidOptionError } from '../../../lib/errors/option.errors.js';
import {
  DEDUPLICATION_DEFAULTS,
  RESUME_DEFAULTS,
  resolveServerOptions,
  SERVER_DEFAULTS,
  SERVER_HEARTBEAT_DEFAULTS,
  type SocketServerOptions,
} from '../../../lib/options/server-options.js';
import { caught } from '../../support/caught.js';
import { BOOLEAN, CODEC, countFrom, MILLISECONDS, STRING, type BadValues } from './bad-values.js';

const BAD: Record<string, BadValues> = {
  accountId: STRING,
  protocols: {
    values: ['v2', [], ['v3'], ['v1', 'v1'], null, {}],
    expected: 'an array of "v2" or "v1"',
  },
  v1ResultInMessage: BOOLEAN,
  silentPeerTimeoutMs: MILLISECONDS,
  maxSilentPeers: countFrom(0),
  codec: CODEC,
  bigint: BOOLEAN,
  handling: { values: ['parallel', '', null, 1], expected: '"concurrent" or "sequential"' },
  maxFrameBytes: countFrom(1_024),
  frameTimeoutMs: MILLISECONDS,
  maxConnections: countFrom(1),
  maxConcurrentPerConnection: countFrom(1),
  maxQueuedPerConnection: countFrom(0),
  maxQueuedBytesPerConnection: countFrom(0),
  maxSendQueueBytes: countFrom(1_024),
  maxPendingPerConnection: countFrom(1),
  requestTimeoutMs: MILLISECONDS,
  idleTimeoutMs: MILLISECONDS,
  drainTimeoutMs: MILLISECONDS,
  backlog: countFrom(1),
  mode: { values: [-1, 0o1000, '0600', 1.5, NaN, null], expected: 'a file mode from 0 to 0o777' },
  group: { values: [-2, 1.5, 'staff', NaN, null], expected: 'a numeric group id, or -1' },
  takeOver: BOOLEAN,
  pathWatchIntervalMs: MILLISECONDS,
  'heartbeat.enabled': BOOLEAN,
  'heartbeat.intervalMs': MILLISECONDS,
  'heartbeat.timeoutMs': MILLISECONDS,
  'deduplication.enabled': BOOLEAN,
  'deduplication.windowMs': {
    values: [0, ...MILLISECONDS.values],
    expected: 'a number of milliseconds from 1 to 2147483647',
  },
  'deduplication.maxEntries': countFrom(1),
  'deduplication.maxBytes': countFrom(0),
  'resume.rooms': {
    values: ['prices', [1], ['a', undefined], {}, null],
    expected: 'names of rooms, or a function that takes a name and returns true or false',
  },
  'resume.windowMs': {
    values: [0, ...MILLISECONDS.values],
    expected: 'a number of milliseconds from 1 to 2147483647',
  },
  'resume.maxPushes': countFrom(1),
  'resume.maxBytes': countFrom(0),
  'resume.maxClients': countFrom(0),
  heartbeat: { values: [5, null, true, 'x'], expected: 'an object' },
  deduplication: { values: [5, null, true, 'x'], expected: 'an object' },
  resume: { values: [5, null, true, 'x'], expected: 'an object' },
};

function withOption(name: string, value: unknown): SocketServerOptions {
  const [group, key] = name.split('.') as [string, string | undefined];
  return { path: '/s.sock', [group]: key === undefined ? value : { [key]: value } } as SocketServerOptions;
}

const every = (defaults: object, prefix = ''): string[] => Object.keys(defaults).map((key) => prefix + key);

describe('resolveServerOptions', () => {
  it('knows a bad value for every option there is', () => {
    expect(Object.keys(BAD).sort()).toEqual(
      [
        ...every(SERVER_DEFAULTS),
        ...every(SERVER_HEARTBEAT_DEFAULTS, 'heartbeat.'),
        ...every(DEDUPLICATION_DEFAULTS, 'deduplication.'),
        ...every(RESUME_DEFAULTS, 'resume.'),
        'heartbeat',
        'deduplication',
        'resume',
      ].sort(),
    );
  });

  it.each(Object.entries(BAD))(
    'names the option %s, its bad value and what is expected',
    (option, { values, expected }) => {
      for (const value of values) {
        const error = caught(() => resolveServerOptions(withOption(option, value)));
        expect(error).toBeInstanceOf(InvalidOptionError);
        expect(error).toMatchObject({ code: 'INVALID_OPTION', option, expectation: expected });
        expect((error as InvalidOptionError).value).toBe(value);
        expect((error as Error).message).toContain(`Option "${option}" is `);
        expect((error as Error).message).toContain(`expected ${expected}`);
      }
    },
  );

  it('gives the defaults for what is not given, explicitly undefined or not', () => {
    const defaults = {
      ...SERVER_DEFAULTS,
      heartbeat: SERVER_HEARTBEAT_DEFAULTS,
      deduplication: DEDUPLICATION_DEFAULTS,
      resume: RESUME_DEFAULTS,
      endpoint: { path: '/s.sock' },
    };
    const undefinedOf = (table: object): object =>
      Object.fromEntries(every(table).map((key) => [key, undefined]));
    expect(resolveServerOptions({ path: '/s.sock' })).toEqual(defaults);
    expect(
      resolveServerOptions({
        path: '/s.sock',
        ...undefinedOf(SERVER_DEFAULTS),
        heartbeat: undefinedOf(SERVER_HEARTBEAT_DEFAULTS),
        deduplication: undefined,
      }),
    ).toEqual(defaults);
  });

  it('gives options that nobody can change', () => {
    const options = resolveServerOptions({ port: 0, heartbeat: { timeoutMs: 5 } });
    expect(options.heartbeat).toEqual({ ...SERVER_HEARTBEAT_DEFAULTS, timeoutMs: 5 });
    expect([options, options.heartbeat, options.deduplication].map((part) => Object.isFrozen(part))).toEqual([
      true,
      true,
      true,
    ]);
  });
});

describe('limits on bytes that wait', () => {
  const MIB = 1024 * 1024;
  const limits = ['maxSendQueueBytes', 'maxQueuedBytesPerConnection'] as const;

  it.each(limits)('%s has room for four of the largest messages', (name) => {
    expect(resolveServerOptions({ path: '/s.sock', maxFrameBytes: 128 * MIB })[name]).toBe(512 * MIB);
    expect(resolveServerOptions({ path: '/s.sock', maxFrameBytes: MIB })[name]).toBe(64 * MIB);
  });

  it.each(limits)('%s is what is asked for', (name) => {
    const options = { path: '/s.sock', maxFrameBytes: 128 * MIB, [name]: 2 * MIB };
    expect(resolveServerOptions(options)[name]).toBe(2 * MIB);
  });
});
