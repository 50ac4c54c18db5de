import { connectOurClient, startOurServer } from '../support/our-peer.mjs';

export const title = 'nestjs-unix-socket, Unix socket, all as MessagePack';
export const endpointKind = 'unix';

const codec = 'msgpack';

export const startServer = (endpoint, options) => startOurServer(endpoint, { ...options, codec });
export const createClient = (endpoint, options) => connectOurClient(endpoint, { ...options, codec });
