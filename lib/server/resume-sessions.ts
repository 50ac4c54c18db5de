import { randomBytes } from 'node:crypto';
import type { RoomPosition } from '../protocol/room-positions.js';

/** Whoever holds the session at the moment. */
export interface SessionHolder {
  readonly id: string;
  readonly accountId: string | undefined;
  /** Another connection of the same client takes over. */
  onSuperseded(): void;
}

/** What outlives a connection: the rooms of its client, for as long as it may come back with the token. */
export class ResumeSession {
  /** Undefined while nobody is there or on the way. */
  holder: SessionHolder | undefined;
  /** Where it began in each kept room: nothing before is for it. */
  readonly starts = new Map<string, RoomPosition>();
  /** While away: its rooms, who it was, and how many pushes had been kept when it left. */
  rooms: ReadonlySet<string> = new Set();
  lastConnectionId = '';
  accountId: string | undefined;
  awaySince = 0;
  expiresAt = 0;
  /** The one it came with, if any, and the one it was given last. */
  tokens: string[] = [];
}

const TOKEN_BYTES = 24;

/** The sessions by their tokens. Those of clients that are away are bounded in number and time. */
export class ResumeSessions {
  private readonly byToken = new Map<string, ResumeSession>();
  /** Whoever left first is first. */
  private readonly away = new Set<ResumeSession>();
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly limits: { readonly windowMs: number; readonly maxClients: number }) {}

  get awayCount(): number {
    return this.away.size;
  }

  allAway(): Iterable<ResumeSession> {
    return this.away;
  }

  /** A new token; the one before it stays good until {@link confirm}: the client may never see the new one. */
  issue(session: ResumeSession): string {
    const token = randomBytes(TOKEN_BYTES).toString('base64url');
    session.tokens.push(token);
    this.byToken.set(token, session);
    return token;
  }

  /** The client has its newest token. */
  confirm(session: ResumeSession): void {
    for (const token of session.tokens.splice(0, session.tokens.length - 1)) this.byToken.delete(token);
  }

  /** The session of this token. It counts as away until it has {@link arrive}d. */
  take(token: string, holder: SessionHolder): ResumeSession | undefined {
    const session = this.byToken.get(token);
    if (session === undefined) return undefined;
    for (const other of session.tokens) if (other !== token) this.byToken.delete(other);
    session.tokens = [token];
    session.holder?.onSuperseded();
    session.holder = holder;
    return session;
  }

  arrive(session: ResumeSession): void {
    this.away.delete(session);
  }

  /** Its client has gone, and may come back. */
  park(session: ResumeSession, rooms: ReadonlySet<string>, awaySince: number): void {
    const { holder } = session;
    session.lastConnectionId = holder?.id ?? '';
    session.accountId = holder?.accountId;
    session.holder = undefined;
    session.rooms = rooms;
    // One that left again before it had arrived has been away all the time.
    if (!this.away.delete(session)) session.awaySince = awaySince;
    session.expiresAt = performance.now() + this.limits.windowMs;
    this.away.add(session);
    const [oldest] = this.away;
    if (this.away.size > this.limits.maxClients && oldest !== undefined) this.forget(oldest);
    this.watch();
  }

  /** It cannot be resumed any more. */
  forget(session: ResumeSession): void {
    for (const token of session.tokens.splice(0)) this.byToken.delete(token);
    session.holder = undefined;
    this.away.delete(session);
  }

  close(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.byToken.clear();
    this.away.clear();
  }

  private watch(): void {
    const [oldest] = this.away;
    if (this.timer !== undefined || oldest === undefined) return;
    this.timer = setTimeout(
      () => {
        this.timer = undefined;
        const now = performance.now();
        for (const session of this.away) {
          if (session.expiresAt > now) break;
          this.forget(session);
        }
        this.watch();
      },
      Math.max(1, oldest.expiresAt - performance.now()),
    );
    this.timer.unref();
  }
}
