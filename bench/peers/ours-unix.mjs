import { connectOurClient, startOurServer } from '../support/our-peer.mjs';

export const title = 'nestjs-unix-socket, Unix socket';
export const endpointKind = 'unix';

export const startServer = startOurServer;
export const createClient = connectOurClient;
