import { InvalidOptionError } from '../errors/option.errors.js';
import type { PushFrames } from '../protocol/push-frames.js';
import { LONGEST_ROOM_NAME, type RoomPosition } from '../protocol/room-positions.js';
import type { ServerResume } from '../options/server-options.js';
import type { ClientConnection } from './client-connection.js';
import type { SlowConsumerPolicy } from './push-queue.js';
import type { ServerStats } from './server-reports.js';
import { ResumeSessions, type ResumeSession } from './resume-sessions.js';
import { RoomLog, type KeptPush } from './room-log.js';

/**
 * Says which of its rooms a client that has come back may enter again.
 * @param connection the new one
 * @param rooms those it was in when it was lost
 */
export type ResumeAuthorizer = (
  connection: ClientConnection,
  rooms: readonly string[],
) => readonly string[] | Promise<readonly string[]>;

/** The rooms whose pushes are numbered and kept for those who are away. */
export class KeptRooms {
  readonly sessions: ResumeSessions;
  authorize: ResumeAuthorizer = (_connection, rooms) => rooms;
  /** Clients that have come back. */
  resumedCount = 0;
  /** Pushes kept so far. */
  ordinal = 0;

  private readonly logs = new Map<string, RoomLog>();
  private readonly names: ReadonlySet<string> | undefined;
  private readonly chooses: ((room: string) => boolean) | undefined;
  private sweepTimer: NodeJS.Timeout | undefined;

  constructor(
    private readonly options: ServerResume,
    private readonly hasMembers: (room: string) => boolean,
  ) {
    const { rooms } = options;
    if (typeof rooms === 'function') this.chooses = rooms;
    else if (rooms.length > 0) this.names = new Set(rooms);
    this.sessions = new ResumeSessions(options);
  }

  has(room: string): boolean {
    if (this.names !== undefined) return this.names.has(room);
    return this.chooses !== undefined && room.length <= LONGEST_ROOM_NAME && this.chooses(room);
  }

  /** The log of a room that is kept. */
  log(room: string): RoomLog {
    let log = this.logs.get(room);
    if (log === undefined) {
      log = new RoomLog(room, this.options);
      this.logs.set(room, log);
      this.sweepTimer ??= setInterval(() => this.sweep(), this.options.windowMs).unref();
    }
    log.lastUsedAt = performance.now();
    return log;
  }

  /** @throws InvalidOptionError if `policy` would let a later push overtake an earlier one */
  requireOrder(room: string, policy: SlowConsumerPolicy): void {
    if (policy === 'latest')
      throw new InvalidOptionError('policy', policy, `any but that for "${room}", where every push counts`);
  }

  /** Numbers a push to these rooms and keeps it. If `encode` throws, nothing has happened. */
  keep(
    rooms: readonly string[],
    encode: (seq: readonly RoomPosition[]) => PushFrames,
    excluded: ReadonlySet<ResumeSession>,
    isForPresent: boolean,
  ): KeptPush {
    const logs = rooms.map((room) => this.log(room));
    const seq = logs.map(({ position }) => ({ ...position, n: position.n + 1 }));
    const frames = encode(seq);
    const push = {
      frames,
      seq,
      ordinal: ++this.ordinal,
      pushedAt: performance.now(),
      excluded,
      isForPresent,
    };
    for (const log of logs) log.append(push);
    return push;
  }

  stats(): Pick<ServerStats, 'resumedConnections' | 'awayClients' | 'keptBytes'> {
    let keptBytes = 0;
    for (const log of this.logs.values()) keptBytes += log.bytes;
    return { resumedConnections: this.resumedCount, awayClients: this.sessions.awayCount, keptBytes };
  }

  close(): void {
    clearInterval(this.sweepTimer);
    this.sweepTimer = undefined;
    this.logs.clear();
    this.sessions.close();
  }

  /** A room that nobody uses any more is let go; should it come again, it has another epoch. */
  private sweep(): void {
    const now = performance.now();
    for (const [room, log] of this.logs) {
      log.trim(now);
      const isIdle = log.length === 0 && now - log.lastUsedAt > this.options.windowMs;
      if (isIdle && !this.hasMembers(room)) this.logs.delete(room);
    }
    if (this.logs.size > 0) return;
    clearInterval(this.sweepTimer);
    this.sweepTimer = undefined;
  }
}
