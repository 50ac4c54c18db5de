import type { LinkStats } from './link-reports.js';
import type { Session } from './session.js';

/** What the connections of a link tell of themselves. */
export type SessionsStats = Pick<
  LinkStats,
  | 'inFlight'
  | 'queued'
  | 'bytesSent'
  | 'bytesReceived'
  | 'queuedBytes'
  | 'lastRoundTripMs'
  | 'accountId'
  | 'connectionId'
  | 'protocolVersion'
  | 'isUpgraded'
>;

/** The connections of a link, of which one at most is new calls' way. */
export class Sessions {
  /** The connection that calls go to; while connecting, the one being made. */
  current: Session | undefined;
  /** Connections to servers that are going away, kept until what is in flight on them is answered. */
  private readonly retired = new Set<Session>();
  /** Of connections that have ended. */
  private pastBytesSent = 0;
  private pastBytesReceived = 0;

  get isEmpty(): boolean {
    return this.current === undefined && this.retired.size === 0;
  }

  all(): Session[] {
    return this.current === undefined ? [...this.retired] : [this.current, ...this.retired];
  }

  /** New calls go elsewhere, those in flight on it end here. */
  retire(session: Session): void {
    this.retired.add(session);
    this.current = undefined;
  }

  /** Ends one that is retired and has nothing in flight any more. */
  endIfDone(session: Session): void {
    if (session.isIdle && this.retired.has(session)) session.end();
  }

  end(): void {
    for (const session of this.all()) session.end();
  }

  /** It has ended. Returns whether calls went to it. */
  remove(session: Session): boolean {
    this.pastBytesSent += session.bytesSent;
    this.pastBytesReceived += session.bytesReceived;
    this.retired.delete(session);
    const isCurrent = session === this.current;
    if (isCurrent) this.current = undefined;
    return isCurrent;
  }

  stats(): SessionsStats {
    const { current } = this;
    const sum = (value: (session: Session) => number): number =>
      this.all().reduce((total, session) => total + value(session), 0);
    return {
      inFlight: sum(({ served }) => served?.runningCount ?? 0),
      queued: sum(({ served }) => served?.waitingCount ?? 0),
      bytesSent: this.pastBytesSent + sum((session) => session.bytesSent),
      bytesReceived: this.pastBytesReceived + sum((session) => session.bytesReceived),
      queuedBytes: current?.queuedBytes ?? 0,
      lastRoundTripMs: current?.liveness.lastRoundTripMs,
      accountId: current?.greeting?.accountId,
      connectionId: current?.greeting?.connectionId,
      protocolVersion: current?.dialect.version,
      isUpgraded: current?.isUpgraded ?? false,
    };
  }
}
