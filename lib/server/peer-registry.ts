import type { Peer } from './peer.js';
import type { SlowConsumerPolicy } from './push-queue.js';

/** The live peers and the rooms they are in. A room is there as long as somebody is in it. */
export class PeerRegistry {
  private readonly byId = new Map<string, Peer>();
  private readonly rooms = new Map<string, Set<Peer>>();
  private readonly policies = new Map<string, SlowConsumerPolicy>();

  get size(): number {
    return this.byId.size;
  }

  all(): Iterable<Peer> {
    return this.byId.values();
  }

  get(id: string): Peer | undefined {
    return this.byId.get(id);
  }

  add(peer: Peer): void {
    this.byId.set(peer.id, peer);
  }

  /** Its memberships end with it. */
  remove(peer: Peer): void {
    this.byId.delete(peer.id);
    for (const room of peer.rooms) this.leave(peer, room);
    peer.rooms.clear();
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
}
