import { InvalidOptionError } from '../../../lib/errors/option.errors.js';
import {
  CLIENT_DEFAULTS,
  CLIENT_HEARTBEAT_DEFAULTS,
  RECONNECT_DEFAULTS,
  resolveLinkOptions,
  type LinkOptions,
} from '../../../lib/options/client-options.js';
import { caught } from '../../support/caught.js';
import { BOOLEAN, CODEC, countFrom, MILLISECONDS, STRING, TOO_LATE, type BadValues } from './bad-values.js';

const BAD: Record<string, BadValues> = {
  accountId: STRING,
  requestTimeoutMs: MILLISECONDS,
  idleTimeoutMs: MILLISECONDS,
  connectTimeoutMs: {
    values: [0, ...MILLISECONDS.values],
    expected: 'a number of milliseconds from 1 to 2147483647',
  },
  awaitGreeting: BOOLEAN,
  protocol: { values: ['v3', 2, null, ['v1']], expected: '"auto" or "v2" or "v1"' },
  codec: CODEC,
  bigint: BOOLEAN,
  eventsAs: { values: ['pull', '', null, true], expected: '"auto" or "push" or "request"' },
  maxFrameBytes: countFrom(1_024),
  frameTimeoutMs: MILLISECONDS,
  maxSendQueueBytes: countFrom(1_024),
  offline: {
    values: ['queue', '', null, true, {}, { queue: 0 }, { queue: 1.5 }, { queue: '5' }, { queue: Infinity }],
    expected: '"wait", "fail" or { queue: a whole number of at least 1 }',
  },
  maxOfflineCalls: countFrom(1),
  maxOfflineBytes: countFrom(1),
  maxRepeats: countFrom(0),
  maxConcurrentPerConnection: countFrom(1),
  maxQueuedPerConnection: countFrom(0),
  maxQueuedBytesPerConnection: countFrom(0),
  drainTimeoutMs: MILLISECONDS,
  maxQueuedPushes: countFrom(1),
  'reconnect.enabled': BOOLEAN,
  'reconnect.initialDelayMs': MILLISECONDS,
  'reconnect.maxDelayMs': MILLISECONDS,
  'reconnect.multiplier': {
    values: [0.99, -1, NaN, Infinity, '2', null],
    expected: 'a number of at least 1',
  },
  'reconnect.maxAttempts': countFrom(0),
  'heartbeat.enabled': BOOLEAN,
  'heartbeat.intervalMs': MILLISECONDS,
  'heartbeat.timeoutMs': MILLISECONDS,
  reconnect: { values: [5, null, true, 'x'], expected: 'an object' },
  heartbeat: { values: [5, null, true, 'x'], expected: 'an object' },
};

function withOption(name: string, value: unknown): LinkOptions {
  const [group, key] = name.split('.') as [string, string | undefined];
  return { path: '/s.sock', [group]: key === undefined ? value : { [key]: value } } as LinkOptions;
}

const every = (defaults: object, prefix = ''): string[] => Object.keys(defaults).map((key) => prefix + key);

describe('resolveLinkOptions', () => {
  it('knows a bad value for every option there is', () => {
    expect(Object.keys(BAD).sort()).toEqual(
      [
        ...every(CLIENT_DEFAULTS),
        ...every(RECONNECT_DEFAULTS, 'reconnect.'),
        ...every(CLIENT_HEARTBEAT_DEFAULTS, 'heartbeat.'),
        'reconnect',
        'heartbeat',
      ].sort(),
    );
  });

  it.each(Object.entries(BAD))(
    'names the option %s, its bad value and what is expected',
    (option, { values, expected }) => {
      for (const value of values) {
        const error = caught(() => resolveLinkOptions(withOption(option, value)));
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
      ...CLIENT_DEFAULTS,
      reconnect: RECONNECT_DEFAULTS,
      heartbeat: CLIENT_HEARTBEAT_DEFAULTS,
      endpoint: { path: '/s.sock' },
    };
    const undefinedOf = (table: object): object =>
      Object.fromEntries(every(table).map((key) => [key, undefined]));
    expect(resolveLinkOptions({ path: '/s.sock' })).toEqual(defaults);
    expect(
      resolveLinkOptions({
        path: '/s.sock',
        ...undefinedOf(CLIENT_DEFAULTS),
        reconnect: undefinedOf(RECONNECT_DEFAULTS),
        heartbeat: undefined,
      }),
    ).toEqual(defaults);
  });

  it.each<[string, unknown]>([
    ['requestTimeoutMs', 0],
    ['requestTimeoutMs', 2_147_483_647],
    ['connectTimeoutMs', 1],
    ['offline', 'fail'],
    ['offline', { queue: 1 }],
    ['maxFrameBytes', 1_024],
    ['maxRepeats', 0],
    ['accountId', ''],
    ['awaitGreeting', false],
  ])('takes %s: %p', (option, value) => {
    expect(resolveLinkOptions(withOption(option, value))).toMatchObject({ [option]: value });
  });

  it('takes part of a group and leaves the rest at its default', () => {
    expect(resolveLinkOptions({ port: 1, reconnect: { multiplier: 2 } }).reconnect).toEqual({
      ...RECONNECT_DEFAULTS,
      multiplier: 2,
    });
  });

  it('gives options that nobody can change', () => {
    const options = resolveLinkOptions({ path: '/s.sock' });
    expect([options, options.reconnect, options.heartbeat].map((part) => Object.isFrozen(part))).toEqual([
      true,
      true,
      true,
    ]);
  });

  it('refuses a descriptor, which is for servers', () => {
    expect(() => resolveLinkOptions({ fd: 3 } as LinkOptions)).toThrow(/"fd".*only servers/);
  });

  it('refuses a delay that a timer would take for 1', () => {
    expect(() => resolveLinkOptions({ path: '/s.sock', requestTimeoutMs: TOO_LATE })).toThrow(
      InvalidOptionError,
    );
  });
});

describe('limits on bytes that wait', () => {
  const MIB = 1024 * 1024;
  const limits = ['maxSendQueueBytes', 'maxQueuedBytesPerConnection', 'maxOfflineBytes'] as const;

  it.each(limits)('%s has room for four of the largest messages', (name) => {
    expect(resolveLinkOptions({ path: '/s.sock', maxFrameBytes: 128 * MIB })[name]).toBe(512 * MIB);
    expect(resolveLinkOptions({ path: '/s.sock', maxFrameBytes: MIB })[name]).toBe(64 * MIB);
  });

  it.each(limits)('%s is what is asked for', (name) => {
    const options = { path: '/s.sock', maxFrameBytes: 128 * MIB, [name]: 2 * MIB };
    expect(resolveLinkOptions(options)[name]).toBe(2 * MIB);
  });
});
