import { createServer, type AddressInfo } from 'node:net';
import type { Endpoint } from 'nestjs-unix-socket';
import type { Address } from './frames.js';
import { findPython } from './python-process.js';
import { tempSocketPath } from './temp-paths.js';
import { thoroughly } from './thoroughly.js';

/** `describe`, or a skip that says why, where there is no Python to talk to. */
export function describeWithPython(name: string, tests: (kind: EndpointKind) => void): void {
  if (findPython() === undefined) {
    describe.skip(`${name} (skipped: there is no python3 of version 3.10 or newer on the PATH)`, () =>
      tests('path'));
    return;
  }
  const kinds: [string, EndpointKind][] = [
    ['a Unix path', 'path'],
    ['TCP', 'tcp'],
  ];
  // What Python sends and understands does not depend on it.
  describe.each(thoroughly(kinds, kinds.slice(0, 1)))(`${name} over %s`, (_label, kind) => tests(kind));
}

export type EndpointKind = 'path' | 'tcp';

/** An address that nobody listens on. A port, since the peer may leave it and come back. */
export async function unusedAddress(kind: EndpointKind): Promise<Address> {
  if (kind === 'path') return { path: tempSocketPath() };
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return { host: '127.0.0.1', port };
}

/** As the Python driver takes it. */
export function driverAddress(endpoint: Endpoint | Address): string {
  if ('path' in endpoint) return endpoint.path;
  if ('port' in endpoint) return `${endpoint.host ?? '127.0.0.1'}:${endpoint.port}`;
  throw new Error('Python is reached by a path or a port');
}
