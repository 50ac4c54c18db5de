import { tell } from '../connection/tell.js';
import type { ResolvedLinkOptions } from '../options/client-options.js';
import { readMeta } from '../protocol/guards.js';
import { readPayload, type MessageBody } from '../protocol/message-body.js';
import { readSeq, type ResumeNotice, type ResumeRequest } from '../protocol/room-positions.js';
import { acknowledgement } from './acknowledge.js';
import type { LinkEvents, LinkStats } from './link-reports.js';
import { PushPositions } from './push-positions.js';
import { PushStream } from './push-stream.js';
import type { Session } from './session.js';

/** What is counted of the pushes of a link. */
export type PushStats = Pick<LinkStats, 'pushesReceived' | 'pushesDropped' | 'pushesFailed' | 'pushGaps'>;

/** Room for the rest of `hello`. */
const HELLO_BYTES = 900;

/** Takes the pushes of all connections of a link, none twice, and hands them to their subscriptions. */
export class PushReceiver {
  readonly stream: PushStream;
  private readonly positions: PushPositions;
  private receivedCount = 0;
  private gapCount = 0;
  private hasToldOfDrops = false;

  constructor(
    private readonly options: ResolvedLinkOptions,
    events: LinkEvents,
  ) {
    this.positions = new PushPositions((gap) => {
      this.gapCount++;
      tell(() => events.onGap?.(gap));
    });
    this.stream = new PushStream(
      options.maxQueuedPushes,
      (error, push) => tell(() => events.onPushHandlerError?.(error, push)),
      () => {
        if (this.hasToldOfDrops) return;
        this.hasToldOfDrops = true;
        tell(() => events.onPushesDropped?.());
      },
    );
  }

  onPush(session: Session, body: MessageBody, bytes: number): void {
    const seq = body.seq === undefined ? undefined : readSeq(body.seq);
    if (!this.positions.admit(session, seq)) return;
    this.receivedCount++;
    const { type, data } = readPayload(body.data);
    const push = {
      type: typeof type === 'string' ? type : 'unknown',
      data,
      meta: body.meta === undefined ? undefined : readMeta(body.meta),
      seq,
    };
    this.stream.deliver(
      push,
      body.ack === true ? acknowledgement(session, body, bytes, this.options.maxSendQueueBytes) : undefined,
    );
  }

  /** What to ask of a new connection, about the rooms of the ones before. */
  resumeRequest(session: Session): ResumeRequest | undefined {
    const canResume = session.greeting?.caps?.includes('resume') === true;
    return this.positions.begin(session, canResume, session.maxFrameBytes - HELLO_BYTES);
  }

  /** What the server says of rooms. Returns whether to confirm it. */
  onResumeNotice(session: Session, notice: ResumeNotice): boolean {
    return this.positions.onNotice(session, notice);
  }

  stats(): PushStats {
    return {
      pushesReceived: this.receivedCount,
      pushesDropped: this.stream.dropped,
      pushesFailed: this.stream.failed,
      pushGaps: this.gapCount,
    };
  }
}
