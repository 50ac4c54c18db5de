import { clusterPeer } from '../support/cluster-peer.mjs';

export const title = 'nestjs-unix-socket, 1 worker';
export const endpointKind = 'unix';
export const { startServer, createClient } = clusterPeer(1);
