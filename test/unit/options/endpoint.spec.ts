import { InvalidOptionError, PathTooLongError } from '../../../lib/errors/option.errors.js';
import {
  endpointLabel,
  MAX_PATH_BYTES,
  resolveEndpoint,
  type Endpoint,
  type ServerEndpointOptions,
} from '../../../lib/options/endpoint.js';
import { caught } from '../../support/caught.js';

const nothing = (): never => {
  throw new Error('not to be called');
};
const streams = { label: 'memory', connect: nothing, listen: nothing };

describe('resolveEndpoint', () => {
  it.each<[ServerEndpointOptions, Endpoint, string]>([
    [{ path: '/run/a.sock' }, { path: '/run/a.sock' }, '/run/a.sock'],
    [{ path: 'relative.sock', port: undefined }, { path: 'relative.sock' }, 'relative.sock'],
    [{ port: 0 }, { host: '127.0.0.1', port: 0 }, '127.0.0.1:0'],
    [{ port: 65_535, host: undefined }, { host: '127.0.0.1', port: 65_535 }, '127.0.0.1:65535'],
    [{ port: 5, host: '::1' }, { host: '::1', port: 5 }, '[::1]:5'],
    [{ fd: 0 }, { fd: 0 }, 'descriptor 0'],
    [{ streams }, streams, 'memory'],
  ])('takes %j', (options, endpoint, label) => {
    expect(resolveEndpoint(options)).toEqual(endpoint);
    expect(endpointLabel(endpoint)).toBe(label);
  });

  it.each<[unknown, string, unknown, RegExp]>([
    [undefined, 'path', undefined, /the path of a Unix socket \(or "port", for TCP\)/],
    [null, 'path', undefined, /the path of a Unix socket/],
    ['/run/a.sock', 'path', undefined, /the path of a Unix socket/],
    [{}, 'path', undefined, /the path of a Unix socket/],
    [{ host: 'localhost' }, 'path', undefined, /"port", for TCP/],
    [{ path: '' }, 'path', '', /a non-empty string without NUL/],
    [{ path: null }, 'path', null, /a non-empty string/],
    [{ path: 5 }, 'path', 5, /a non-empty string/],
    [{ path: '/a\0b' }, 'path', '/a\0b', /without NUL/],
    [{ port: -1 }, 'port', -1, /a whole number from 0 to 65535/],
    [{ port: 65_536 }, 'port', 65_536, /a whole number from 0 to 65535/],
    [{ port: 1.5 }, 'port', 1.5, /a whole number from 0 to 65535/],
    [{ port: '80' }, 'port', '80', /a whole number from 0 to 65535/],
    [{ port: NaN }, 'port', NaN, /a whole number from 0 to 65535/],
    [{ port: 1, host: '' }, 'host', '', /a host name or address/],
    [{ port: 1, host: null }, 'host', null, /a host name or address/],
    [{ port: 1, host: 5 }, 'host', 5, /a host name or address/],
    [{ fd: -1 }, 'fd', -1, /the number of an open descriptor/],
    [{ fd: '3' }, 'fd', '3', /the number of an open descriptor/],
    [{ streams: 5 }, 'streams', 5, /a label and the functions connect and listen/],
    [{ streams: null }, 'streams', null, /a label and the functions connect and listen/],
    [{ streams: { label: 'x', connect: nothing } }, 'streams', { label: 'x', connect: nothing }, /listen/],
    [{ path: '/a', port: 1 }, 'port', 1, /no "port" beside "path"/],
    [{ port: 1, fd: 3 }, 'fd', 3, /no "fd" beside "port"/],
    [{ systemd: true }, 'systemd', true, /systemd passes a socket/],
  ])('refuses %j, naming option, value and expectation', (options, option, value, expectation) => {
    const error = caught(() => resolveEndpoint(options as ServerEndpointOptions));
    expect(error).toBeInstanceOf(InvalidOptionError);
    expect(error).toMatchObject({ option, value, expectation: expect.stringMatching(expectation) });
  });

  it.each([
    ['bytes', `/${'x'.repeat(MAX_PATH_BYTES - 1)}`, `/${'x'.repeat(MAX_PATH_BYTES)}`],
    // As many characters as would fit three times over.
    [
      'bytes of UTF-8, not characters',
      `/${'汉'.repeat(Math.floor((MAX_PATH_BYTES - 1) / 3))}`,
      `/${'汉'.repeat(36)}`,
    ],
  ])('counts a path in %s and says how many are too many', (_, longest, tooLong) => {
    expect(resolveEndpoint({ path: longest })).toEqual({ path: longest });
    const bytes = Buffer.byteLength(tooLong);
    const error = caught(() => resolveEndpoint({ path: tooLong }));
    expect(error).toBeInstanceOf(PathTooLongError);
    expect(error).toMatchObject({ code: 'PATH_TOO_LONG', path: tooLong, bytes, limitBytes: MAX_PATH_BYTES });
    expect((error as Error).message).toContain(
      `has ${bytes} bytes and this platform takes ${MAX_PATH_BYTES}`,
    );
  });
});

describe('resolveEndpoint of an abstract socket', () => {
  const [major = 0] = process.versions.node.split('.').map(Number);
  const isPossible = process.platform === 'linux' && major >= 22;
  const cases: [string, unknown, Endpoint | RegExp][] = isPossible
    ? [
        ['takes a name', 'worker', { path: '\0worker' }],
        ['refuses an empty name', '', /a non-empty string/],
        ['refuses too long a name', 'x'.repeat(MAX_PATH_BYTES + 1), /this platform takes/],
      ]
    : [['refuses, where it cannot be', 'worker', /abstract sockets need Linux and Node 22/]];

  it.each(cases)('%s', (_, abstract, outcome) => {
    const resolve = (): Endpoint => resolveEndpoint({ abstract } as ServerEndpointOptions);
    if (outcome instanceof RegExp) expect(resolve).toThrow(outcome);
    else expect(resolve()).toEqual(outcome);
  });

  it('shows its name with an @', () => {
    expect(endpointLabel({ path: '\0worker' })).toBe('@worker');
  });
});

describe('resolveEndpoint of a socket passed by systemd', () => {
  const names = ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES'] as const;
  const before = names.map((name) => process.env[name]);

  function pass(fds: string, fdNames?: string, pid = String(process.pid)): void {
    Object.assign(process.env, { LISTEN_PID: pid, LISTEN_FDS: fds });
    if (fdNames !== undefined) process.env['LISTEN_FDNAMES'] = fdNames;
  }

  afterEach(() => {
    names.forEach((name, i) => {
      if (before[i] === undefined) delete process.env[name];
      else process.env[name] = before[i];
    });
  });

  it('takes the only one', () => {
    pass('1');
    expect(resolveEndpoint({ systemd: true })).toEqual({ fd: 3 });
  });

  it('finds one by its name', () => {
    pass('3', 'http:admin:rpc');
    expect(resolveEndpoint({ systemd: 'rpc' })).toEqual({ fd: 5 });
    expect(() => resolveEndpoint({ systemd: 'other' })).toThrow(
      /one of the names that were passed: http:admin:rpc/,
    );
    expect(() => resolveEndpoint({ systemd: true })).toThrow(/one of the names of the 3 sockets/);
  });

  it('takes none that was meant for another process', () => {
    pass('1', undefined, '1');
    expect(() => resolveEndpoint({ systemd: true })).toThrow(InvalidOptionError);
  });
});
