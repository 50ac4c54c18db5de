import { resolveEndpoint, type PathEndpoint, type TcpEndpoint } from '../options/endpoint.js';

/** A path, or `host:port`. @throws InvalidOptionError, PathTooLongError */
export function parseEndpoint(text: string): PathEndpoint | TcpEndpoint {
  const [, host, port] = /^([^/]*):(\d+)$/.exec(text) ?? [];
  if (port === undefined) return resolveEndpoint({ path: text }) as PathEndpoint;
  const name = host?.replace(/^\[(.*)\]$/, '$1');
  return resolveEndpoint({ port: Number(port), ...(name === '' ? {} : { host: name }) }) as TcpEndpoint;
}
