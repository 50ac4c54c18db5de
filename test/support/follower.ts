import { Link, type LinkOptions, type PushGap, type ReceivedPush } from 'nestjs-unix-socket';
import { atEnd } from './at-end.js';
import { until } from './until.js';

/** What a client heard of one room, in the order in which it heard it. */
export type Heard = { readonly epoch: string; readonly n: number } | HeardGap;

/** With how many connections had been lost before. */
type HeardGap = PushGap & { readonly losses: number };

/** A client that writes down what it hears of kept rooms. */
export class Follower {
  readonly link: Link;
  readonly gaps: PushGap[] = [];
  readonly pushes: ReceivedPush[] = [];
  private readonly heard = new Map<string, Heard[]>();
  private losses = 0;

  constructor(options: LinkOptions) {
    this.link = new Link(
      { reconnect: { initialDelayMs: 5, maxDelayMs: 20 }, ...options },
      {
        onGap: (gap) => {
          this.gaps.push(gap);
          this.of(gap.room).push({ ...gap, losses: this.losses });
        },
        onDisconnect: () => void this.losses++,
      },
    );
    this.link.pushes.subscribe(undefined, (_data, push) => {
      this.pushes.push(push);
      for (const { room, epoch, n } of push.seq ?? []) this.of(room).push({ epoch, n });
    });
  }

  /** Connected, and closed at the end of the test. */
  static async connect(options: LinkOptions): Promise<Follower> {
    const follower = new Follower(options);
    atEnd(() => follower.link.close());
    await follower.link.connect();
    return follower;
  }

  get data(): unknown[] {
    return this.pushes.map(({ data }) => data);
  }

  of(room: string): Heard[] {
    const heard = this.heard.get(room) ?? [];
    this.heard.set(room, heard);
    return heard;
  }

  /** Resolves once it has so many pushes. */
  async has(count: number): Promise<void> {
    await until(() => this.pushes.length >= count);
  }

  /** Loses the connection as if the network had broken. */
  lose(): void {
    this.link.readySession?.stream.destroy();
  }
}

/**
 * What is wrong with what was heard: within an epoch each number has to come once and in order, or lie inside a gap that
 * was reported before the numbers behind it; from one epoch to the next only over a gap without an end. Another such gap
 * may follow at once if the connection was lost meanwhile: the client had joined again, and got nothing.
 */
export function faultsIn(heard: readonly Heard[]): string[] {
  const faults: string[] = [];
  /** Undefined where any may come next. */
  let epoch: string | undefined;
  /** Likewise. */
  let next: number | undefined;
  let openGap: HeardGap | undefined;
  for (const item of heard) {
    if ('from' in item) {
      if (next !== undefined && item.from !== next) faults.push(`a gap from ${item.from}, not ${next}`);
      if (item.to !== undefined && item.to < item.from) faults.push(`a gap from ${item.from} to ${item.to}`);
      if (item.to === undefined && openGap?.losses === item.losses) faults.push('one loss, two open gaps');
      next = item.to === undefined ? undefined : item.to + 1;
      if (item.to === undefined) epoch = undefined;
      openGap = item.to === undefined ? item : undefined;
    } else {
      const isElsewhere = epoch !== undefined && item.epoch !== epoch;
      if (isElsewhere || (next !== undefined && item.n !== next))
        faults.push(`${item.epoch}:${item.n} instead of ${epoch}:${next}`);
      epoch = item.epoch;
      next = item.n + 1;
      openGap = undefined;
    }
  }
  return faults;
}
