import type { Peer } from './peer.js';
import type { ConnectionStats } from './server-reports.js';

/** A snapshot of what is known of one connection. */
export function connectionStats(peer: Peer): ConnectionStats {
  const { calls, liveness, pushes } = peer;
  return Object.freeze({
    id: peer.id,
    version: peer.protocolVersion,
    isUpgraded: peer.isUpgraded,
    clientName: peer.clientName,
    since: peer.connectedAt,
    lastActivity: peer.lastActivityAt,
    queuedBytes: peer.queuedBytes + pushes.bytes,
    queuedPushes: pushes.length,
    rooms: Object.freeze([...pushes.rooms]),
    accountId: peer.accountId,
    bytesReceived: peer.bytesReceived,
    bytesSent: peer.bytesSent,
    inFlight: calls.runningCount,
    queued: calls.waitingCount,
    pending: peer.pendingThere,
    roundTripMs: liveness.roundTripMs,
  });
}
