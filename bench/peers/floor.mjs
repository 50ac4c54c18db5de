import { connectFloorClient } from '../floor/client.mjs';
import { startFloorServer } from '../floor/server.mjs';
import { events, requests, streams } from '../support/handlers.mjs';

export const title = 'floor: bare node:net, Unix socket';
export const endpointKind = 'unix';

export const startServer = (endpoint) => startFloorServer(endpoint, { requests, events, streams });
export const createClient = (endpoint) => connectFloorClient(endpoint);
