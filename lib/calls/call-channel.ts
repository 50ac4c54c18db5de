import type { Dialect } from '../protocol/dialect.js';
import type { Frame } from '../protocol/frame-writer.js';
import type { MessageType } from '../protocol/message-body.js';
import type { StreamFlow } from './stream-flow.js';

/** What an incoming call needs of the connection it came from, whichever end that is. */
export interface CallChannel {
  /** Whether the caller is one of ours: it understands streams, cancellation, metadata and the like. */
  readonly isUpgraded: boolean;
  readonly maxFrameBytes: number;
  /** How it is spoken to. */
  readonly dialect: Dialect;
  /** Whether it takes more values of streams. */
  readonly flow: StreamFlow;
  /**
   * @param isOneOfMany a value of a stream, or an answer given again: no slot bounds how many there are, so a peer
   * that leaves too much unread is disconnected
   */
  sendFrame(frame: Frame, type: MessageType, isOneOfMany?: boolean): void;
  /** Counts a failure under its code. */
  noteError(code: string): void;
}

/** Those who wait for the answer of a call that came more than once. */
export interface CallAudience<C extends CallChannel> extends StreamFlow {
  /** The connection that asked last. */
  readonly latestCaller: C | undefined;
  sendFrame: CallChannel['sendFrame'];
}
