import type { Connection } from '../connection/connection.js';
import { ConnectionClosedError, SendQueueFullError } from '../errors/connection.errors.js';
import type { Frame } from '../protocol/frame-writer.js';
import { MessageType } from '../protocol/message-body.js';
import type { Peer } from './peer.js';
import { PushQueue, type PushQueueOwner, type SlowConsumerPolicy } from './push-queue.js';
import type { PushSource } from './push.js';

/** What the pushes to one peer tell its server. */
export interface PeerPushesOwner extends PushSource {
  /** Pushes to this peer begin to wait, because it does not read them. */
  onSlowConsumer(peer: Peer): void;
  onPushesDropped(count: number): void;
}

/** The pushes to one peer: the rooms it gets them from, and those that wait for it to read. */
export class PeerPushes implements PushQueueOwner {
  readonly rooms = new Set<string>();
  private readonly queue: PushQueue;

  constructor(
    private readonly peer: Peer,
    private readonly connection: Connection,
    private readonly owner: PeerPushesOwner,
    private readonly maxQueueBytes: number,
  ) {
    this.queue = new PushQueue(this, maxQueueBytes);
  }

  get queuedBytes(): number {
    return this.connection.queuedBytes;
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
    for (const room of rooms) {
      this.rooms.add(room);
      this.owner.peers.join(this.peer, room);
    }
  }

  leave(rooms: readonly string[]): void {
    for (const room of rooms) {
      this.rooms.delete(room);
      this.owner.peers.leave(this.peer, room);
    }
  }

  offer(frame: Frame, policy: SlowConsumerPolicy, key: string | undefined): boolean {
    return this.connection.isOpen && this.queue.offer(frame, policy, key);
  }

  /** The client reads again. */
  drain(): void {
    this.queue.drain();
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
    this.owner.onPushesDropped(count);
  }

  onOverflow(bytes: number): void {
    this.peer.destroy(new SendQueueFullError(bytes, this.maxQueueBytes));
  }
}
