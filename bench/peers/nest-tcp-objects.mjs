import { ClientTCP, Transport } from '../support/nest.mjs';
import { connectNestClient, objectPattern, startNestServer } from '../support/nest-peer.mjs';

export const title = 'Nest TCP, object patterns';
export const endpointKind = 'tcp';

export const startServer = (endpoint) =>
  startNestServer({ transport: Transport.TCP, options: endpoint }, objectPattern);
export const createClient = (endpoint) => connectNestClient(new ClientTCP(endpoint), objectPattern);
