import type { RawPeer } from './frames.js';

/** Resolves once the other side has ended or destroyed its socket: which of the two is seen is up to the platform. */
export function gone(peer: RawPeer): Promise<void> {
  return Promise.race([peer.ended, peer.closed]);
}
