import { clusterPeer } from '../support/cluster-peer.mjs';

export const title = 'nestjs-unix-socket, 2 workers';
export const endpointKind = 'unix';
export const { startServer, createClient } = clusterPeer(2);
