import type { ResumeNotice, ResumeRequest, RoomMark, RoomPosition } from '../protocol/room-positions.js';

/** Pushes of a kept room that this client has not got and will not get. */
export interface PushGap {
  readonly room: string;
  /** The first number missing. */
  readonly from: number;
  /**
   * The last one. Undefined when nobody knows: the server is another one, or has forgotten this client, which is in
   * the room no more. All up to the next push of the room is missing then.
   */
  readonly to: number | undefined;
}

interface Followed {
  epoch: string;
  /** Of the last push it got, or will not get. */
  n: number;
  /** Asked for on a new connection and not answered yet: the pushes come again then, or are lost. */
  isPending: boolean;
}

/** What a server may make a client remember. */
const MAX_FOLLOWED_ROOMS = 10_000;

/** Where a link is in each kept room, over all its connections: finds what is missing, and never takes one twice. */
export class PushPositions {
  private readonly rooms = new Map<string, Followed>();
  private token: string | undefined;
  private connection: object | undefined;
  /** Rooms of the connections before: what these still bring is asked for on the new one, or given up. */
  private left = new Set<string>();

  constructor(private readonly onGap: (gap: PushGap) => void) {}

  /** What to ask of a new connection. @param maxBytes of the request as JSON */
  begin(connection: object, canResume: boolean, maxBytes: number): ResumeRequest | undefined {
    this.connection = connection;
    this.left = new Set(this.rooms.keys());
    const { token } = this;
    const positions = [...this.rooms].map(([room, { epoch, n }]) => ({ room, epoch, n }));
    const request = token === undefined ? undefined : { token, positions };
    if (!canResume || request === undefined || JSON.stringify(request).length > maxBytes) {
      this.token = undefined;
      this.loseAll([...this.rooms.keys()]);
      return undefined;
    }
    for (const followed of this.rooms.values()) followed.isPending = true;
    return request;
  }

  /** Whether a push is to be handed on. @param seq its places in kept rooms */
  admit(connection: object, seq: readonly RoomPosition[] | undefined): boolean {
    if (seq === undefined) return true;
    if (connection !== this.connection) return !seq.some(({ room }) => this.left.has(room));
    let isFollowed = false;
    let isNew = false;
    for (const position of seq) {
      const followed = this.rooms.get(position.room);
      if (followed === undefined) continue;
      isFollowed = true;
      if (followed.isPending || this.has(followed, position)) continue;
      isNew = true;
      this.move(followed, position, position.n - 1);
    }
    return isNew || !isFollowed;
  }

  /** What the server says of rooms. Returns whether it gave a new token, which is to be confirmed. */
  onNotice(connection: object, notice: ResumeNotice): boolean {
    if (connection !== this.connection) return false;
    for (const mark of notice.positions) this.onMark(mark);
    if (notice.answer === true)
      this.loseAll([...this.rooms].filter(([, { isPending }]) => isPending).map(([room]) => room));
    if (notice.token === undefined) return false;
    this.token = notice.token;
    return true;
  }

  private onMark(mark: RoomMark): void {
    const followed = this.rooms.get(mark.room);
    if (mark.n === undefined) {
      this.rooms.delete(mark.room);
    } else if (followed !== undefined) {
      followed.isPending = false;
      if (!this.has(followed, mark)) this.move(followed, mark, mark.skip === true ? mark.n - 1 : mark.n);
    } else if (mark.skip !== true && this.rooms.size < MAX_FOLLOWED_ROOMS) {
      this.rooms.set(mark.room, { epoch: mark.epoch, n: mark.n, isPending: false });
    }
  }

  private has(followed: Followed, { epoch, n }: RoomPosition): boolean {
    return followed.epoch === epoch && n <= followed.n;
  }

  /** @param lastLost what lies before, up to this number, has not come */
  private move(followed: Followed, { room, epoch, n }: RoomPosition, lastLost: number): void {
    const from = followed.n + 1;
    const isSameEpoch = followed.epoch === epoch;
    followed.epoch = epoch;
    followed.n = n;
    if (!isSameEpoch) this.onGap({ room, from, to: undefined });
    else if (lastLost >= from) this.onGap({ room, from, to: lastLost });
  }

  private loseAll(rooms: readonly string[]): void {
    for (const room of rooms) {
      const from = (this.rooms.get(room)?.n ?? 0) + 1;
      this.rooms.delete(room);
      this.onGap({ room, from, to: undefined });
    }
  }
}
