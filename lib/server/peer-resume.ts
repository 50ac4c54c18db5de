import type { Frame } from '../protocol/frame-writer.js';
import type { PushFrames } from '../protocol/push-frames.js';
import { encodeHeartbeat, extra } from '../protocol/envelope.js';
import {
  readResumeRequest,
  type ResumeNotice,
  type ResumeRequest,
  type RoomMark,
  type RoomPosition,
} from '../protocol/room-positions.js';
import type { ClientConnection } from './client-connection.js';
import type { KeptRooms } from './kept-rooms.js';
import { planReplay } from './replay.js';
import { ResumeSession, type SessionHolder } from './resume-sessions.js';

/** What resuming needs of its connection. */
export interface PeerResumeOwner {
  readonly client: ClientConnection;
  readonly isOpen: boolean;
  readonly rooms: ReadonlySet<string>;
  /** As its client takes it; undefined if it does not. */
  frameOf(frames: PushFrames): Frame | undefined;
  /** Pushes wait for the client to read. */
  readonly isHeld: boolean;
  /** Makes it a member, no more. */
  enter(room: string): void;
  /** Sends in its turn what must not be dropped. */
  enqueue(frame: Frame): void;
  /** Another connection of the same client has its rooms now. */
  onSuperseded(): void;
  onResumeFailed(error: unknown): void;
}

/**
 * One connection's part in kept rooms: tells its client where it is in each, and lets a client that has come back go
 * on where it was. Does nothing for clients that do not follow numbers.
 */
export class PeerResume implements SessionHolder {
  private isFollowing = false;
  private session: ResumeSession | undefined;
  /** Rooms of the client that the application has yet to allow. */
  private pending = new Set<string>();
  /** What the client said it had. */
  private told = new Map<string, RoomPosition>();
  /** Places of pushes that went out while rooms were pending: with these rooms they do not come again. */
  private readonly sent = new WeakSet<readonly RoomPosition[]>();
  /** Rooms in which the client has missed pushes and got none since. */
  private readonly missed = new Set<string>();

  constructor(
    private readonly owner: PeerResumeOwner,
    private readonly kept: KeptRooms,
  ) {}

  get id(): string {
    return this.owner.client.id;
  }

  get accountId(): string | undefined {
    return this.owner.client.accountId;
  }

  /** What outlives the connection, if anything does. */
  get currentSession(): ResumeSession | undefined {
    return this.session;
  }

  /** The client has said that it follows numbers, and may ask to go on where it was. */
  begin(asked: unknown): void {
    this.isFollowing = true;
    const request = asked === undefined ? undefined : readResumeRequest(asked);
    if (request !== undefined) this.claim(request);
    // Rooms the application put it into before it had said anything.
    this.onJoined([...this.owner.rooms]);
    if (this.pending.size > 0) this.ask();
    else if (asked !== undefined) this.finish([]);
  }

  /** The client holds the token it was given last. */
  confirm(): void {
    if (this.session !== undefined) this.kept.sessions.confirm(this.session);
  }

  onJoined(rooms: readonly string[]): void {
    if (!this.isFollowing) return;
    const allowed: string[] = [];
    for (const room of rooms) {
      // By joining, the application has allowed it.
      const wasPending = this.pending.delete(room);
      if (!this.kept.has(room)) continue;
      if (wasPending) allowed.push(room);
      else this.start(room);
    }
    // All at once: what went to several of them comes in the order of each.
    this.replay(allowed);
  }

  onLeft(room: string): void {
    this.pending.delete(room);
    this.missed.delete(room);
    if (this.session?.starts.delete(room) === true) this.tell([{ room }]);
  }

  /** A push to these places went out. */
  onSent(seq: readonly RoomPosition[]): void {
    if (this.pending.size > 0 && seq.some(({ room }) => this.owner.rooms.has(room))) this.sent.add(seq);
  }

  /** What was said to have gone out was dropped before it was sent. */
  onWithdrawn(seq: readonly RoomPosition[]): void {
    this.sent.delete(seq);
  }

  /** A push to these places did not go out. */
  onMissed(seq: readonly RoomPosition[]): void {
    if (!this.isFollowing) return;
    for (const { room } of seq) if (this.owner.rooms.has(room)) this.missed.add(room);
    if (!this.owner.isHeld) this.onCaughtUp();
  }

  /** Nothing waits any more: what was missed last is told, as no later push shows it. */
  onCaughtUp(): void {
    if (this.missed.size === 0 || !this.owner.isOpen) return;
    const positions = [...this.missed].map((room) => this.kept.log(room).position);
    this.missed.clear();
    this.tell(positions);
  }

  /** The numbers of a push from which it was excepted. Undefined if it would not miss them. */
  skipOf(seq: readonly RoomPosition[]): Frame | undefined {
    const own = this.isFollowing ? seq.filter(({ room }) => this.owner.rooms.has(room)) : [];
    return own.length === 0 ? undefined : noticeOf({ positions: own.map(skipped) });
  }

  /** The connection is lost; its client may come back. */
  park(): void {
    const { session } = this;
    if (session?.holder === this) {
      const rooms = new Set([...this.owner.rooms, ...this.pending]);
      this.kept.sessions.park(session, rooms, this.kept.ordinal);
    }
    this.stop();
  }

  /** The application has ended the connection. */
  forget(): void {
    if (this.session !== undefined) this.kept.sessions.forget(this.session);
    this.stop();
  }

  onSuperseded(): void {
    this.park();
    this.owner.onSuperseded();
  }

  private stop(): void {
    this.isFollowing = false;
    this.session = undefined;
    this.pending.clear();
  }

  private claim({ token, positions }: ResumeRequest): void {
    const session = this.kept.sessions.take(token, this);
    if (session === undefined) return;
    this.session = session;
    this.pending = new Set(session.rooms);
    for (const position of positions)
      if (session.starts.has(position.room)) this.told.set(position.room, position);
  }

  private ask(): void {
    const fail = (error: unknown): void => {
      this.owner.onResumeFailed(error);
      this.finish([]);
    };
    try {
      const allowed = this.kept.authorize(this.owner.client, [...this.pending]);
      if (allowed instanceof Promise) allowed.then((rooms) => this.finish(rooms)).catch(fail);
      else this.finish(allowed);
    } catch (error) {
      fail(error);
    }
  }

  private finish(allowed: readonly string[]): void {
    if (!this.isFollowing || !this.owner.isOpen) return;
    const rooms = allowed.filter((room) => this.pending.delete(room));
    for (const room of this.pending) this.session?.starts.delete(room);
    this.pending.clear();
    for (const room of rooms) this.owner.enter(room);
    this.replay(rooms.filter((room) => this.kept.has(room)));
    if (this.session !== undefined) {
      this.kept.sessions.arrive(this.session);
      this.kept.resumedCount++;
    }
    const token = this.session && this.kept.sessions.issue(this.session);
    this.owner.enqueue(noticeOf({ token, positions: [], answer: true }));
  }

  private start(room: string): void {
    const { position } = this.kept.log(room);
    let token: string | undefined;
    if (this.session === undefined) {
      this.session = new ResumeSession();
      this.session.holder = this;
      token = this.kept.sessions.issue(this.session);
    }
    this.session.starts.set(room, position);
    this.tell([position], token);
  }

  private replay(rooms: readonly string[]): void {
    const { session } = this;
    if (session === undefined || rooms.length === 0) return;
    const logs = rooms.map((room) => this.kept.log(room));
    const plan = planReplay(
      logs,
      session,
      this.told,
      ({ frames }) => this.owner.frameOf(frames) !== undefined,
    );
    this.owner.enqueue(noticeOf({ positions: plan.before }));
    for (const push of plan.pushes) {
      const isDone = push.excluded.has(session) || this.sent.has(push.seq);
      const frame = (isDone ? this.skipOf(push.seq) : undefined) ?? this.owner.frameOf(push.frames);
      if (frame === undefined) continue;
      this.owner.enqueue(frame);
      this.onSent(push.seq);
    }
    if (plan.after.length > 0) this.owner.enqueue(noticeOf({ positions: plan.after }));
  }

  private tell(positions: readonly RoomMark[], token?: string): void {
    if (this.isFollowing) this.owner.enqueue(noticeOf({ token, positions }));
  }
}

function skipped(position: RoomPosition): RoomMark {
  return { ...position, skip: true as const };
}

function noticeOf(notice: ResumeNotice): Frame {
  return encodeHeartbeat(extra('resume', notice));
}
