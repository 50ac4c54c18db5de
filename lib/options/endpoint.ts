import type { Duplex } from 'node:stream';
import { InvalidOptionError, PathTooLongError } from '../errors/option.errors.js';

/** Where a server listens and a client connects. */
export type Endpoint = PathEndpoint | TcpEndpoint | DescriptorEndpoint | StreamEndpoint;

/** A Unix socket. An abstract one has no file: its `path` begins with NUL. */
export interface PathEndpoint {
  readonly path: string;
}

export interface TcpEndpoint {
  readonly host: string;
  readonly port: number;
}

/** A listening socket that was handed to this process. Servers only. */
export interface DescriptorEndpoint {
  readonly fd: number;
}

/** Anything that makes streams; for tests without sockets and for transports of one's own. */
export interface StreamEndpoint {
  /** For messages. */
  readonly label: string;
  /** A new stream to the server. It must end with `close`, after an `error` if it could not be opened. */
  connect(): Duplex;
  /** Calls `onStream` for each client until the returned function is called. */
  listen(onStream: (stream: Duplex) => void): () => void;
}

/** The part of the options that says where: one of `path`, `port`, `abstract`, `fd`, `systemd` and `streams`. */
export interface EndpointOptions {
  /** Path of the Unix socket. */
  readonly path?: string | undefined;
  /** TCP host. @default '127.0.0.1' */
  readonly host?: string | undefined;
  /** TCP port. A server takes 0 for any free port. */
  readonly port?: number | undefined;
  /**
   * Name of an abstract Unix socket: no file and so no file mode, everybody in the network namespace may connect.
   * Linux only, Node 22 or newer: Node 20 pads the name, so that no other program finds it.
   */
  readonly abstract?: string | undefined;
  /** Streams of one's own. */
  readonly streams?: StreamEndpoint | undefined;
}

/** Where a server may listen besides. */
export interface ServerEndpointOptions extends EndpointOptions {
  /** Descriptor of a listening socket inherited from the parent process. */
  readonly fd?: number | undefined;
  /** A listening socket passed by systemd: the only one, or the one with this name. */
  readonly systemd?: true | string | undefined;
}

const DEFAULT_HOST = '127.0.0.1';

/** Bytes of `sun_path` without its closing NUL. Node 20 and 22 cut longer paths silently. */
export const MAX_PATH_BYTES = process.platform === 'linux' ? 107 : 103;

/** The first descriptor that systemd passes. */
const FIRST_SYSTEMD_FD = 3;

const WAYS = ['path', 'port', 'abstract', 'fd', 'systemd', 'streams'] as const;

/** @throws InvalidOptionError, PathTooLongError */
export function resolveEndpoint(options: ServerEndpointOptions | undefined): Endpoint {
  const given = WAYS.filter((way) => options?.[way] !== undefined);
  const [way, another] = given;
  if (options === undefined || way === undefined) {
    throw new InvalidOptionError('path', undefined, 'the path of a Unix socket (or "port", for TCP)');
  }
  if (another !== undefined) {
    throw new InvalidOptionError(
      another,
      options[another],
      `no "${another}" beside "${way}": an endpoint is one or the other`,
    );
  }
  switch (way) {
    case 'path':
      return { path: checkPath('path', options.path) };
    case 'port':
      return tcpEndpoint(options.host === undefined ? DEFAULT_HOST : options.host, options.port);
    case 'abstract':
      return abstractEndpoint(options.abstract);
    case 'fd':
      if (!Number.isInteger(options.fd) || (options.fd as number) < 0) {
        throw new InvalidOptionError('fd', options.fd, 'the number of an open descriptor');
      }
      return { fd: options.fd as number };
    case 'systemd':
      return { fd: systemdDescriptor(options.systemd as true | string) };
    case 'streams':
      return checkStreams(options.streams);
  }
}

/** For messages: the path, or `host:port`. */
export function endpointLabel(endpoint: Endpoint): string {
  if ('path' in endpoint) return endpoint.path.replace('\0', '@');
  if ('fd' in endpoint) return `descriptor ${endpoint.fd}`;
  if ('label' in endpoint) return endpoint.label;
  return endpoint.host.includes(':')
    ? `[${endpoint.host}]:${endpoint.port}`
    : `${endpoint.host}:${endpoint.port}`;
}

export function isAbstract(endpoint: PathEndpoint): boolean {
  return endpoint.path.startsWith('\0');
}

function checkPath(option: string, path: unknown): string {
  if (typeof path !== 'string' || path === '' || path.includes('\0')) {
    throw new InvalidOptionError(option, path, 'a non-empty string without NUL');
  }
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_PATH_BYTES) throw new PathTooLongError(path, bytes, MAX_PATH_BYTES);
  return path;
}

function tcpEndpoint(host: unknown, port: unknown): TcpEndpoint {
  if (typeof host !== 'string' || host === '')
    throw new InvalidOptionError('host', host, 'a host name or address');
  if (!Number.isInteger(port) || (port as number) < 0 || (port as number) > 65_535) {
    throw new InvalidOptionError('port', port, 'a whole number from 0 to 65535');
  }
  return { host, port: port as number };
}

function checkStreams(streams: unknown): StreamEndpoint {
  const { label, connect, listen } = (streams ?? {}) as Partial<StreamEndpoint>;
  if (typeof label !== 'string' || typeof connect !== 'function' || typeof listen !== 'function') {
    throw new InvalidOptionError(
      'streams',
      streams,
      'an object with a label and the functions connect and listen',
    );
  }
  return streams as StreamEndpoint;
}

function abstractEndpoint(name: unknown): PathEndpoint {
  const [major = 0] = process.versions.node.split('.').map(Number);
  if (process.platform !== 'linux' || major < 22) {
    throw new InvalidOptionError(
      'abstract',
      name,
      'a socket path instead: abstract sockets need Linux and Node 22 or newer',
    );
  }
  return { path: `\0${checkPath('abstract', name)}` };
}

/** The descriptor that systemd passed to this very process. */
function systemdDescriptor(name: true | string): number {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES } = process.env;
  const count = LISTEN_PID === String(process.pid) ? Number(LISTEN_FDS) : 0;
  if (!(count > 0)) {
    throw new InvalidOptionError(
      'systemd',
      name,
      'that systemd passes a socket to this process; start it from a socket unit',
    );
  }
  if (name === true) {
    if (count > 1)
      throw new InvalidOptionError(
        'systemd',
        name,
        `one of the names of the ${count} sockets: ${LISTEN_FDNAMES}`,
      );
    return FIRST_SYSTEMD_FD;
  }
  const index = (LISTEN_FDNAMES ?? '').split(':').indexOf(name);
  if (index < 0)
    throw new InvalidOptionError('systemd', name, `one of the names that were passed: ${LISTEN_FDNAMES}`);
  return FIRST_SYSTEMD_FD + index;
}
