import { Link, type LinkOptions, type PushGap, type ReceivedPush } from 'nestjs-unix-socket';
import { atEnd } from './at-end.js';
import { until } from './until.js';

/** What a client heard of one room, in the order in which it heard it. */
export type Heard = { readonly epoch: string; readonly n: number } | PushGap;

/** A client that writes down what it hears of kept rooms. */
export class Follower {
  readonly link: Link;
  readonly gaps: PushGap[] = [];
  readonly pushes: ReceivedPush[] = [];
  private readonly heard = new Map<string, Heard[]>();

  constructor(options: LinkOptions) {
    this.link = new Link(
      { reconnect: { initialDelayMs: 5, maxDelayMs: 20 }, ...options },
      {
        onGap: (gap) => {
          this.gaps.push(gap);
          this.of(gap.room).push(gap);
        },
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
 * was reported before the numbers behind it; from one epoch to the next only over a gap without an end.
 */
export function faultsIn(heard: readonly Heard[]): string[] {
  const faults: string[] = [];
  let epoch: string | undefined;
  /** Undefined where any number may come next. */
  let next: number | undefined;
  for (const item of heard) {
    if ('from' in item) {
      if (next !== undefined && item.from !== next) faults.push(`a gap from ${item.from}, not ${next}`);
      if (item.to !== undefined && item.to < item.from) faults.push(`a gap from ${item.from} to ${item.to}`);
      if (next === undefined && epoch !== undefined) faults.push('two open gaps in a row');
      next = item.to === undefined ? undefined : item.to + 1;
    } else {
      if (next !== undefined && (item.n !== next || item.epoch !== epoch))
        faults.push(`${item.epoch}:${item.n} instead of ${epoch}:${next}`);
      epoch = item.epoch;
      next = item.n + 1;
    }
  }
  return faults;
}
