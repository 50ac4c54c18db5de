import { InvalidOptionError, PathTooLongError } from '../errors/option.errors.js';

/** Where a server listens and a client connects: a socket path, or a TCP address. */
export type Endpoint = PathEndpoint | TcpEndpoint;

export interface PathEndpoint {
  readonly path: string;
}

export interface TcpEndpoint {
  readonly host: string;
  readonly port: number;
}

/** The part of the options that says where: give `path`, or `port` and perhaps `host`. */
export interface EndpointOptions {
  /** Path of the Unix socket. */
  readonly path?: string | undefined;
  /** TCP host. @default '127.0.0.1' */
  readonly host?: string | undefined;
  /** TCP port. A server takes 0 for any free port. */
  readonly port?: number | undefined;
}

const DEFAULT_HOST = '127.0.0.1';

/** Bytes of `sun_path` without its closing NUL. Node 20 and 22 cut longer paths silently. */
export const MAX_PATH_BYTES = process.platform === 'linux' ? 107 : 103;

/** @throws InvalidOptionError, PathTooLongError */
export function resolveEndpoint(options: EndpointOptions | undefined): Endpoint {
  const { path, host, port } = options ?? {};
  if (path === undefined && port === undefined) {
    throw new InvalidOptionError('path', path, 'the path of a Unix socket (or "port", for TCP)');
  }
  if (path === undefined) return tcpEndpoint(host ?? DEFAULT_HOST, port);
  if (port !== undefined)
    throw new InvalidOptionError('port', port, 'no port beside "path": an endpoint is one or the other');
  if (typeof path !== 'string' || path === '' || path.includes('\0')) {
    throw new InvalidOptionError('path', path, 'a non-empty string without NUL');
  }
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_PATH_BYTES) throw new PathTooLongError(path, bytes, MAX_PATH_BYTES);
  return { path };
}

/** For messages: the path, or `host:port`. */
export function endpointLabel(endpoint: Endpoint): string {
  if ('path' in endpoint) return endpoint.path;
  return endpoint.host.includes(':')
    ? `[${endpoint.host}]:${endpoint.port}`
    : `${endpoint.host}:${endpoint.port}`;
}

function tcpEndpoint(host: unknown, port: unknown): TcpEndpoint {
  if (typeof host !== 'string' || host === '')
    throw new InvalidOptionError('host', host, 'a host name or address');
  if (!Number.isInteger(port) || (port as number) < 0 || (port as number) > 65_535) {
    throw new InvalidOptionError('port', port, 'a whole number from 0 to 65535');
  }
  return { host, port: port as number };
}
