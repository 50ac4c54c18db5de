import { connectOurClient, startOurServer } from '../support/our-peer.mjs';

export const title = 'nestjs-unix-socket, TCP';
export const endpointKind = 'tcp';

export const startServer = startOurServer;
export const createClient = connectOurClient;
