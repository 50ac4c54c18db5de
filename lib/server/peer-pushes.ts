import type { Connection } from '../connection/connection.js';
import {
  ConnectionClosedError,
  ConnectionLostError,
  SendQueueFullError,
} from '../errors/connection.errors.js';
import { HEADER_BYTES } from '../protocol/frame-reader.js';
import type { Frame } from '../protocol/frame-writer.js';
import type { PushFrames } from '../protocol/push-frames.js';
import { MessageType } from '../protocol/message-body.js';
import type { RoomPosition } from '../protocol/room-positions.js';
import type { ClientConnection } from './client-connection.js';
import type { Peer } from './peer.js';
import { PeerResume, type PeerResumeOwner } from './peer-resume.js';
import { PushQueue, type PushQueueOwner, type SlowConsumerPolicy } from './push-queue.js';
import type { PushSource } from './push.js';
import type { ServerCounters } from './server-counters.js';

/** What the pushes to one peer tell its server. */
export interface PeerPushesOwner extends PushSource {
  readonly counters: ServerCounters;
  /** Pushes to this peer begin to wait, because it does not read them. */
  onSlowConsumer(peer: Peer): void;
  /** The application could not say which rooms a client that has come back may enter. */
  onResumeFailed(peer: Peer, error: unknown): void;
}

/** The pushes to one peer: the rooms it gets them from, and those that wait for it to read. */
export class PeerPushes implements PushQueueOwner, PeerResumeOwner {
  readonly rooms = new Set<string>();
  readonly resume: PeerResume;
  private readonly queue: PushQueue;

  constructor(
    private readonly peer: Peer,
    private readonly connection: Connection,
    private readonly owner: PeerPushesOwner,
    private readonly maxQueueBytes: number,
  ) {
    this.queue = new PushQueue(this, maxQueueBytes);
    this.resume = new PeerResume(this, owner.kept);
  }

  get isOpen(): boolean {
    return this.connection.isOpen;
  }

  get isHeld(): boolean {
    return this.queue.isHeld;
  }

  get queuedBytes(): number {
    return this.connection.queuedBytes;
  }

  get client(): ClientConnection {
    return this.peer;
  }

  /** Pushes that wait here. */
  get length(): number {
    return this.queue.length;
  }

  /** Bytes of those. */
  get bytes(): number {
    return this.queue.bytes;
  }

  join(rooms: readonly string[]): void {
    if (!this.connection.isOpen) throw new ConnectionClosedError(this.peer.id);
    const entered = [...new Set(rooms)].filter((room) => !this.rooms.has(room));
    for (const room of entered) this.enter(room);
    if (entered.length > 0) this.resume.onJoined(entered);
  }

  leave(rooms: readonly string[]): void {
    for (const room of rooms) {
      if (!this.rooms.delete(room)) continue;
      this.owner.peers.leave(this.peer, room);
      this.resume.onLeft(room);
    }
  }

  enter(room: string): void {
    this.rooms.add(room);
    this.owner.peers.join(this.peer, room);
  }

  /**
   * False if it was dropped: by its policy, or because it cannot be sent to this client.
   * @param seq its places in kept rooms
   */
  push(
    frames: PushFrames,
    policy: SlowConsumerPolicy,
    key: string | undefined,
    seq: readonly RoomPosition[] | undefined,
  ): boolean {
    return this.offer(frames.for(this.peer.dialect), policy, key, seq);
  }

  /** Behind the pushes that wait. False if there is no room for it. */
  offerAcked(frame: Frame): boolean {
    return this.offer(frame, 'dropNewest', undefined, undefined);
  }

  /** A push to kept rooms is not for this client; its numbers are. */
  skip(seq: readonly RoomPosition[], policy: SlowConsumerPolicy): void {
    const frame = this.resume.skipOf(seq);
    if (frame !== undefined) this.offer(frame, policy, undefined, seq);
  }

  frameOf(frames: PushFrames): Frame | undefined {
    const frame = frames.for(this.peer.dialect);
    return frame !== undefined && this.isTaken(frame) ? frame : undefined;
  }

  enqueue(frame: Frame): void {
    this.queue.enqueue(frame);
  }

  /** The client reads again. */
  drain(): void {
    this.queue.drain();
    if (!this.queue.isHeld) this.resume.onCaughtUp();
  }

  /** Nothing follows. */
  flush(): void {
    this.queue.flush();
  }

  sendPush(frame: Frame): void {
    this.peer.sendFrame(frame, MessageType.Push);
  }

  onSlow(): void {
    this.owner.onSlowConsumer(this.peer);
  }

  onDropped(count: number): void {
    this.owner.counters.pushesDropped += count;
  }

  onWithdrawn(seq: readonly RoomPosition[]): void {
    this.resume.onWithdrawn(seq);
  }

  onSuperseded(): void {
    this.leave([...this.rooms]);
    this.connection.destroy(new ConnectionLostError(`client ${this.peer.id}`));
  }

  onResumeFailed(error: unknown): void {
    this.owner.onResumeFailed(this.peer, error);
  }

  onOverflow(bytes: number): void {
    this.connection.destroy(new SendQueueFullError(bytes, this.maxQueueBytes));
  }

  private offer(
    frame: Frame | undefined,
    policy: SlowConsumerPolicy,
    key: string | undefined,
    seq: readonly RoomPosition[] | undefined,
  ): boolean {
    const isOffered =
      frame !== undefined &&
      this.connection.isOpen &&
      this.isTaken(frame) &&
      this.queue.offer(frame, policy, key, seq);
    if (seq === undefined) return isOffered;
    if (isOffered) this.resume.onSent(seq);
    else this.resume.onMissed(seq);
    return isOffered;
  }

  /** Whether its client takes so large a frame. */
  private isTaken(frame: Frame): boolean {
    return frame.length <= this.peer.maxFrameBytes + HEADER_BYTES;
  }
}
