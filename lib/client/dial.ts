import { lstatSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import { connectLending } from '../connection/lent-reads.js';
import { isAbstract, type Endpoint } from '../options/endpoint.js';

/** A new stream to the server, which may not be open yet. */
export function dial(endpoint: Endpoint): Duplex {
  if ('label' in endpoint) return endpoint.connect();
  if ('path' in endpoint) return connectLending({ path: endpoint.path });
  if ('fd' in endpoint) throw new Error('A descriptor is for servers');
  return connectLending({ ...endpoint, noDelay: true });
}

/** Why dialling failed. Linux says "refused" of a file that is no socket as well as of a dead server's. */
export function withTruth(error: NodeJS.ErrnoException, endpoint: Endpoint): NodeJS.ErrnoException {
  if (error.code !== 'ECONNREFUSED' || !('path' in endpoint) || isAbstract(endpoint)) return error;
  try {
    const stats = lstatSync(endpoint.path);
    if (stats.isSocket() || stats.isSymbolicLink()) return error;
  } catch {
    return error;
  }
  return Object.assign(new Error(error.message, { cause: error }), { code: 'ENOTSOCK' });
}
