import type { RoomPosition } from '../protocol/room-positions.js';
import type { ResumeSession } from './resume-sessions.js';
import type { KeptPush, RoomLog } from './room-log.js';

/** What a client that has come back is sent, in this order. */
export interface Replay {
  /** Where it goes on: behind what it had, or later where that is not kept any more. */
  readonly before: readonly RoomPosition[];
  readonly pushes: readonly KeptPush[];
  /** Where it is then, if the last pushes are not among them. */
  readonly after: readonly RoomPosition[];
}

/**
 * What these rooms have had since the client was there last. A push that went to several of them is in there once.
 * @param told what the client says it had; believed within what it can have had
 * @param canSend whether its client takes a frame of this push
 */
export function planReplay(
  logs: readonly RoomLog[],
  session: ResumeSession,
  told: ReadonlyMap<string, RoomPosition>,
  canSend: (push: KeptPush) => boolean,
): Replay {
  const before: RoomPosition[] = [];
  const reached = new Map<string, RoomPosition>();
  const found = new Set<KeptPush>();
  for (const log of logs) {
    const start = session.starts.get(log.room);
    if (start?.epoch !== log.epoch) {
      session.starts.set(log.room, log.position);
      before.push(log.position);
      continue;
    }
    const own = told.get(log.room);
    const n = own?.epoch === log.epoch ? Math.min(Math.max(own.n, start.n), log.n) : start.n;
    before.push({ ...start, n });
    reached.set(log.room, { ...start, n });
    for (const push of log.since(n)) if (isFor(session, push) && canSend(push)) found.add(push);
  }

  const pushes = [...found].sort((a, b) => a.ordinal - b.ordinal);
  const begun = new Set<string>();
  for (const { seq } of pushes) {
    for (const { room, epoch, n } of seq) {
      const last = reached.get(room);
      if (last === undefined || n <= last.n) continue;
      if (!begun.has(room) && n > last.n + 1) before.push({ room, epoch, n: n - 1 });
      begun.add(room);
      reached.set(room, { room, epoch, n });
    }
  }
  const after = logs.filter(({ room, n }) => (reached.get(room)?.n ?? n) < n).map(({ position }) => position);
  return { before, pushes, after };
}

function isFor(session: ResumeSession, push: KeptPush): boolean {
  const wasAway = push.ordinal > session.awaySince;
  return !(push.isForPresent && wasAway);
}
