import type { PushFrames } from '../protocol/push-frames.js';
import type { RoomPosition } from '../protocol/room-positions.js';
import type { ClientConnection, PushOptions, PushOutcome } from './client-connection.js';
import type { KeptRooms } from './kept-rooms.js';
import type { Peer } from './peer.js';
import type { PeerRegistry } from './peer-registry.js';
import type { PushEncoder } from './push-encoder.js';
import type { ResumeSession } from './resume-sessions.js';

/** Whom a push is for: a room, a connection, all clients of an account, or those a function chooses. */
export type PushTarget =
  string | ClientConnection | { readonly accountId: string } | ((connection: ClientConnection) => boolean);

/** What pushing needs of the server. */
export interface PushSource {
  readonly peers: PeerRegistry;
  readonly kept: KeptRooms;
  readonly encoder: PushEncoder;
}

const NOBODY: ReadonlySet<never> = new Set();

/**
 * Says whom a push is for, then pushes. Never changes: `to` and `except` give a new one, which may be kept.
 * @example server.to('prices', 'admins').except(connection).push('price', { symbol: 'ACME', price: 101.2 })
 */
export class PushOperator {
  constructor(
    private readonly source: PushSource,
    private readonly targets: readonly PushTarget[] = [],
    private readonly exceptions: readonly PushTarget[] = [],
  ) {}

  /** Also these. Without any target, everybody. */
  to(...targets: PushTarget[]): PushOperator {
    return new PushOperator(this.source, [...this.targets, ...targets], this.exceptions);
  }

  /** But not these. */
  except(...targets: PushTarget[]): PushOperator {
    return new PushOperator(this.source, this.targets, [...this.exceptions, ...targets]);
  }

  /**
   * Encoded once for each dialect, however many receive it; a client that several targets name gets it once.
   * @throws EncodeError, FrameTooLargeError, InvalidOptionError: nobody got anything
   */
  push(type: string, data: unknown, options: PushOptions = {}): PushOutcome {
    const policy = options.policy ?? this.roomPolicy() ?? 'disconnect';
    const rooms = this.keptRooms();
    const excepted: ReadonlySet<Peer> =
      this.exceptions.length === 0 ? NOBODY : new Set(this.named(this.exceptions));
    let frames: PushFrames;
    let seq: readonly RoomPosition[] | undefined;
    if (rooms.length === 0) {
      frames = this.source.encoder.encode(type, data, options.meta);
    } else {
      for (const room of rooms) this.source.kept.requireOrder(room, policy);
      ({ frames, seq } = this.source.kept.keep(
        rooms,
        (numbers) => this.source.encoder.encode(type, data, options.meta, numbers),
        this.exceptedSessions(excepted),
        this.exceptions.some((target) => typeof target === 'function'),
      ));
    }
    const key = policy === 'latest' ? JSON.stringify([type, options.key ?? '']) : undefined;
    let recipients = 0;
    let dropped = 0;
    for (const peer of this.recipients(excepted)) {
      if (peer.pushes.push(frames, policy, key, seq)) recipients++;
      else dropped++;
    }
    if (seq !== undefined) for (const peer of excepted) peer.pushes.skip(seq, policy);
    return { recipients, dropped };
  }

  private recipients(excepted: ReadonlySet<Peer>): Iterable<Peer> {
    const { peers } = this.source;
    if (this.targets.length === 0 && excepted.size === 0) return peers.all();
    const chosen = new Set(this.targets.length === 0 ? peers.all() : this.named(this.targets));
    for (const peer of excepted) chosen.delete(peer);
    return chosen;
  }

  /** The rooms among the targets in which the push gets a number. */
  private keptRooms(): string[] {
    const { kept } = this.source;
    const rooms = this.targets.filter((target) => typeof target === 'string' && kept.has(target));
    return rooms.length < 2 ? (rooms as string[]) : [...new Set(rooms as string[])];
  }

  /** Whoever is excepted, here or away. */
  private exceptedSessions(excepted: ReadonlySet<Peer>): ReadonlySet<ResumeSession> {
    const sessions = new Set<ResumeSession>();
    if (this.exceptions.length === 0) return sessions;
    for (const { pushes } of excepted) {
      const { currentSession } = pushes.resume;
      if (currentSession !== undefined) sessions.add(currentSession);
    }
    for (const session of this.source.kept.sessions.allAway())
      if (this.exceptions.some((target) => isAway(session, target))) sessions.add(session);
    return sessions;
  }

  private *named(targets: readonly PushTarget[]): Iterable<Peer> {
    const { peers } = this.source;
    for (const target of targets) {
      if (typeof target === 'string') {
        yield* peers.inRoom(target);
      } else if (typeof target === 'function') {
        for (const peer of peers.all()) if (target(peer)) yield peer;
      } else if ('push' in target) {
        const peer = peers.get(target.id);
        if (peer !== undefined) yield peer;
      } else {
        for (const peer of peers.all()) if (peer.accountId === target.accountId) yield peer;
      }
    }
  }

  /** The policy of the rooms it goes to, if they agree. */
  private roomPolicy(): ReturnType<PeerRegistry['policyOf']> {
    const policies = new Set(
      this.targets.map((target) =>
        typeof target === 'string' ? this.source.peers.policyOf(target) : undefined,
      ),
    );
    return policies.size === 1 ? [...policies][0] : undefined;
  }
}

/** Whether an absent client is meant. Functions cannot be asked about those. */
function isAway(session: ResumeSession, target: PushTarget): boolean {
  if (typeof target === 'function') return false;
  if (typeof target === 'string') return session.rooms.has(target);
  return 'push' in target ? session.lastConnectionId === target.id : session.accountId === target.accountId;
}
