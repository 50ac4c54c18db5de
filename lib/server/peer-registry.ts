import { randomBytes } from 'node:crypto';
import { connectionStats } from './connection-stats.js';
import type { Peer } from './peer.js';
import type { SlowConsumerPolicy } from './push-queue.js';
import type { ServerStats } from './server-reports.js';

/** What the connections of a server add up to. */
export type PeersStats = Pick<
  ServerStats,
  'activeConnections' | 'bytesReceived' | 'bytesSent' | 'inFlight' | 'queued' | 'pending' | 'connections'
>;

/** The peers of a server and the rooms they are in. A room is there as long as somebody is in it. */
export class PeerRegistry {
  private readonly byId = new Map<string, Peer>();
  /** Those that have left while events of theirs, or calls that others may ask for again, go on. */
  private readonly lingering = new Set<Peer>();
  private readonly rooms = new Map<string, Set<Peer>>();
  private readonly policies = new Map<string, SlowConsumerPolicy>();
  /** Of connections that have ended. */
  private pastBytesReceived = 0;
  private pastBytesSent = 0;

  /** Those that are connected. */
  get size(): number {
    return this.byId.size;
  }

  /** With those whose calls go on without them. */
  get totalSize(): number {
    return this.byId.size + this.lingering.size;
  }

  /** Those that are connected. */
  all(): Iterable<Peer> {
    return this.byId.values();
  }

  get(id: string): Peer | undefined {
    return this.byId.get(id);
  }

  /** Those that are connected, and those whose calls go on without them. */
  working(): Peer[] {
    return [...this.byId.values(), ...this.lingering];
  }

  /** An id that no connected peer has. */
  freeId(): string {
    for (;;) {
      const id = randomBytes(4).toString('hex');
      if (!this.byId.has(id)) return id;
    }
  }

  add(peer: Peer): void {
    this.byId.set(peer.id, peer);
  }

  /** It is not connected any more. Its memberships end with it; it lingers while calls of it go on. */
  remove(peer: Peer): void {
    this.byId.delete(peer.id);
    this.pastBytesReceived += peer.bytesReceived;
    this.pastBytesSent += peer.bytesSent;
    if (!peer.calls.isIdle) this.lingering.add(peer);
    for (const room of peer.rooms) this.leave(peer, room);
    peer.rooms.clear();
  }

  /** The last call of one that had left has ended. */
  release(peer: Peer): void {
    this.lingering.delete(peer);
  }

  join(peer: Peer, room: string): void {
    const members = this.rooms.get(room) ?? new Set();
    this.rooms.set(room, members.add(peer));
  }

  leave(peer: Peer, room: string): void {
    const members = this.rooms.get(room);
    members?.delete(peer);
    if (members?.size === 0) this.rooms.delete(room);
  }

  hasMembers(room: string): boolean {
    return this.rooms.has(room);
  }

  inRoom(room: string): Iterable<Peer> {
    return this.rooms.get(room) ?? [];
  }

  /** How a push to this room treats those who are slow to read, unless the push says so itself. */
  setPolicy(room: string, policy: SlowConsumerPolicy): void {
    this.policies.set(room, policy);
  }

  policyOf(room: string): SlowConsumerPolicy | undefined {
    return this.policies.get(room);
  }

  stats(): PeersStats {
    const peers = [...this.byId.values()];
    const sum = (value: (peer: Peer) => number, over = peers): number =>
      over.reduce((total, peer) => total + value(peer), 0);
    return {
      activeConnections: peers.length,
      bytesReceived: this.pastBytesReceived + sum((peer) => peer.bytesReceived),
      bytesSent: this.pastBytesSent + sum((peer) => peer.bytesSent),
      inFlight: sum((peer) => peer.calls.runningCount, this.working()),
      queued: sum((peer) => peer.calls.waitingCount, this.working()),
      pending: sum((peer) => peer.pendingThere),
      connections: Object.freeze(peers.map(connectionStats)),
    };
  }
}
