import type { Frame } from '../protocol/frame-writer.js';
import type { RoomPosition } from '../protocol/room-positions.js';

/**
 * What happens to a push for a client that is slow to read, while what waits for it is below the cap and beyond:
 *
 * | policy       | below the cap                  | beyond                              |
 * | ------------ | ------------------------------ | ----------------------------------- |
 * | `disconnect` | waits                          | the client is disconnected          |
 * | `dropNewest` | waits                          | this push is dropped                |
 * | `dropOldest` | waits                          | the oldest of its kind are dropped  |
 * | `latest`     | replaces the one with its key  | the client is disconnected          |
 * | `volatile`   | is dropped                     | is dropped                          |
 */
export type SlowConsumerPolicy = 'disconnect' | 'dropNewest' | 'dropOldest' | 'latest' | 'volatile';

/** What the queue needs of its connection and its peer. */
export interface PushQueueOwner {
  /** Bytes that the connection has not sent yet. */
  readonly queuedBytes: number;
  sendPush(frame: Frame): void;
  /** The first push has to wait. */
  onSlow(): void;
  onDropped(count: number): void;
  /** One of these had places in kept rooms, and had been accepted before. */
  onWithdrawn(seq: readonly RoomPosition[]): void;
  /** More waits than may: the client has to go. */
  onOverflow(bytes: number): void;
}

/** While the connection holds more than this unsent, pushes wait here, where policies can still reach them. */
const WATERMARK_BYTES = 64 * 1024;

interface WaitingPush {
  /** Undefined once it was dropped. */
  frame: Frame | undefined;
  readonly policy: SlowConsumerPolicy;
  readonly key: string | undefined;
  readonly seq: readonly RoomPosition[] | undefined;
}

/** The pushes of one connection that wait for its client to read. Empty, and out of the way, while it does. */
export class PushQueue {
  private waiting: WaitingPush[] = [];
  private head = 0;
  private droppedEntries = 0;
  private waitingBytes = 0;
  private readonly byKey = new Map<string, WaitingPush>();

  constructor(
    private readonly owner: PushQueueOwner,
    private readonly maxBytes: number,
  ) {}

  /** Pushes that wait. */
  get length(): number {
    return this.waiting.length - this.head - this.droppedEntries;
  }

  get bytes(): number {
    return this.waitingBytes;
  }

  /** Whether a push would have to wait now. */
  get isHeld(): boolean {
    return this.length > 0 || this.owner.queuedBytes > WATERMARK_BYTES;
  }

  /**
   * False if the push was dropped.
   * @param key of its value, for `latest`
   * @param seq its places in kept rooms
   */
  offer(
    frame: Frame,
    policy: SlowConsumerPolicy,
    key: string | undefined,
    seq?: readonly RoomPosition[],
  ): boolean {
    if (!this.isHeld) {
      this.owner.sendPush(frame);
      return true;
    }
    if (policy === 'volatile') return this.drop(1);
    const replaced = key === undefined ? undefined : this.byKey.get(key);
    if (replaced?.frame !== undefined) {
      this.waitingBytes += frame.length - replaced.frame.length;
      replaced.frame = frame;
      this.owner.onDropped(1);
      return true;
    }
    return this.hasRoomFor(frame, policy) && this.append({ frame, policy, key, seq });
  }

  /** Sends it in its turn, however much waits: it is as good as kept elsewhere, or small. */
  enqueue(frame: Frame): void {
    if (this.isHeld) this.append({ frame, policy: 'disconnect', key: undefined, seq: undefined });
    else this.owner.sendPush(frame);
  }

  /** Sends what waits, as far as the client reads. */
  drain(): void {
    while (this.head < this.waiting.length && this.owner.queuedBytes <= WATERMARK_BYTES) {
      const push = this.waiting[this.head++] as WaitingPush;
      if (push.frame === undefined) {
        this.droppedEntries--;
        continue;
      }
      if (push.key !== undefined) this.byKey.delete(push.key);
      this.waitingBytes -= push.frame.length;
      this.owner.sendPush(push.frame);
    }
    this.compact();
  }

  /** Sends all that waits, read or not: nothing follows. */
  flush(): void {
    const waiting = this.waiting.slice(this.head);
    this.waiting = [];
    this.head = 0;
    this.droppedEntries = 0;
    this.waitingBytes = 0;
    this.byKey.clear();
    for (const { frame } of waiting) if (frame !== undefined) this.owner.sendPush(frame);
  }

  private append(push: WaitingPush & { frame: Frame }): boolean {
    if (this.length === 0) this.owner.onSlow();
    this.waiting.push(push);
    this.waitingBytes += push.frame.length;
    if (push.key !== undefined) this.byKey.set(push.key, push);
    return true;
  }

  private hasRoomFor(frame: Frame, policy: SlowConsumerPolicy): boolean {
    const isOver = (): boolean =>
      this.length > 0 && this.owner.queuedBytes + this.waitingBytes + frame.length > this.maxBytes;
    if (policy === 'dropOldest') this.dropOldestWhile(isOver);
    if (!isOver()) return true;
    if (policy === 'disconnect' || policy === 'latest') {
      this.owner.onOverflow(this.owner.queuedBytes + this.waitingBytes + frame.length);
    }
    return this.drop(1);
  }

  private dropOldestWhile(isOver: () => boolean): void {
    for (let i = this.head; i < this.waiting.length && isOver(); i++) {
      const push = this.waiting[i] as WaitingPush;
      if (push.policy !== 'dropOldest' || push.frame === undefined) continue;
      this.waitingBytes -= push.frame.length;
      push.frame = undefined;
      this.droppedEntries++;
      this.drop(1);
      if (push.seq !== undefined) this.owner.onWithdrawn(push.seq);
    }
    this.compact();
  }

  private drop(count: number): false {
    this.owner.onDropped(count);
    return false;
  }

  /** Gives up the room of what has been taken or dropped, once that is the larger part. */
  private compact(): void {
    if ((this.head + this.droppedEntries) * 2 <= this.waiting.length) return;
    this.waiting = this.waiting.slice(this.head).filter((push) => push.frame !== undefined);
    this.head = 0;
    this.droppedEntries = 0;
  }
}
