import { ourPackage } from '../support/nest.mjs';
import { connectNestClient, startNestServer, stringPattern } from '../support/nest-peer.mjs';

export const title = 'nestjs-unix-socket, TCP';
export const endpointKind = 'tcp';

export function startServer(endpoint) {
  const { UnixSocketServer } = ourPackage();
  return startNestServer({ strategy: new UnixSocketServer(endpoint) }, stringPattern);
}

export function createClient(endpoint) {
  const { UnixSocketClientProxy } = ourPackage();
  return connectNestClient(new UnixSocketClientProxy(endpoint), stringPattern);
}
