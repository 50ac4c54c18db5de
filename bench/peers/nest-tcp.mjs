import { ClientTCP, Transport } from '../support/nest.mjs';
import { connectNestClient, startNestServer, stringPattern } from '../support/nest-peer.mjs';

export const title = 'Nest TCP';
export const endpointKind = 'tcp';

export const startServer = (endpoint) =>
  startNestServer({ transport: Transport.TCP, options: endpoint }, stringPattern);
export const createClient = (endpoint) => connectNestClient(new ClientTCP(endpoint), stringPattern);
