import type { Frame } from '../protocol/frame-writer.js';
import type { Metadata } from '../protocol/guards.js';
import type { ClientConnection, PushOptions, PushOutcome } from './client-connection.js';
import type { Peer } from './peer.js';
import type { PeerRegistry } from './peer-registry.js';

/** Whom a push is for: a room, a connection, all clients of an account, or those a function chooses. */
export type PushTarget =
  string | ClientConnection | { readonly accountId: string } | ((connection: ClientConnection) => boolean);

/** What pushing needs of the server. */
export interface PushSource {
  readonly peers: PeerRegistry;
  /** @throws EncodeError, FrameTooLargeError */
  encode(type: string, data: unknown, meta: Metadata | undefined): Frame;
}

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
   * Encoded once, however many receive it; a client that several targets name gets it once.
   * @throws EncodeError, FrameTooLargeError: nobody got anything
   */
  push(type: string, data: unknown, options: PushOptions = {}): PushOutcome {
    const frame = this.source.encode(type, data, options.meta);
    const policy = options.policy ?? this.roomPolicy() ?? 'disconnect';
    const key = policy === 'latest' ? JSON.stringify([type, options.key ?? '']) : undefined;
    let recipients = 0;
    let dropped = 0;
    for (const peer of this.recipients()) {
      if (peer.offerPush(frame, policy, key)) recipients++;
      else dropped++;
    }
    return { recipients, dropped };
  }

  private recipients(): Iterable<Peer> {
    const { peers } = this.source;
    if (this.targets.length === 0 && this.exceptions.length === 0) return peers.all();
    const chosen = new Set(this.targets.length === 0 ? peers.all() : this.named(this.targets));
    for (const peer of this.named(this.exceptions)) chosen.delete(peer);
    return chosen;
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
