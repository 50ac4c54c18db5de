import { connectFloorClient } from '../floor/client.mjs';
import { startFloorServer } from '../floor/server.mjs';
import { handlers } from '../support/handlers.mjs';

export const title = 'floor: bare node:net, Unix socket';
export const endpointKind = 'unix';

export const startServer = (endpoint) => startFloorServer(endpoint, handlers);
export const createClient = (endpoint) => connectFloorClient(endpoint);
