import type { LatencySummary } from '../connection/stats.js';
import type { UnixSocketError } from '../errors/unix-socket.error.js';
import type { ProtocolVersion } from '../protocol/dialect.js';
import type { LinkState } from './link-state.js';
import type { ReceivedPush } from './push-subscription.js';
import type { PushGap } from './push-positions.js';

/** What a link tells whoever runs it. */
export interface LinkEvents {
  onState?(state: LinkState, previous: LinkState): void;
  /** The server was reached and has greeted. */
  onConnect?(): void;
  /** A connection that had been ready ended. */
  onDisconnect?(error: UnixSocketError): void;
  /** An attempt failed, or the connection was lost; the next attempt follows after `delayMs`. */
  onRetry?(attempt: number, delayMs: number, error: UnixSocketError): void;
  onPushHandlerError?(error: unknown, push: ReceivedPush): void;
  /** The first time pushes are dropped because a subscription is too slow. */
  onPushesDropped?(): void;
  /** Pushes of a kept room are missing. */
  onGap?(gap: PushGap): void;
  /** The server said something of its own accord. */
  onNotice?(code: string | undefined, text: string): void;
}

/** A frozen snapshot of a link's counters. */
export interface LinkStats {
  readonly state: LinkState;
  /** Attempts to connect since the last success. */
  readonly attempts: number;
  /** Connections made after the first. */
  readonly reconnects: number;
  /** Sent and not answered. */
  readonly pending: number;
  /** Not sent yet. */
  readonly waiting: number;
  /** Sent again, after a loss or a refusal. */
  readonly repeated: number;
  /** Requests and events sent. */
  readonly sent: number;
  /** Answers received; each value of a stream counts. */
  readonly received: number;
  readonly pushesReceived: number;
  /** Not handled, because a subscription was too slow or ended; once for each subscription. */
  readonly pushesDropped: number;
  /** Handlers of pushes that threw or rejected. */
  readonly pushesFailed: number;
  /** How often pushes of a kept room were missing. */
  readonly pushGaps: number;
  /** Running handlers of the server's calls. */
  readonly inFlight: number;
  /** Calls of the server waiting for their turn. */
  readonly queued: number;
  /** Overloads, and answers to the server that could not be sent. Errors thrown by handlers are not among them. */
  readonly errorsByCode: Readonly<Record<string, number>>;
  /** From the start of a handler of a server's call to its answer. */
  readonly handlerLatencyMs: LatencySummary;
  readonly timeouts: number;
  readonly failuresByCode: Readonly<Record<string, number>>;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly queuedBytes: number;
  /** Of the last probe; undefined before the first, and from plain servers. */
  readonly lastRoundTripMs: number | undefined;
  /** From a call to the first frame of its answer. */
  readonly roundTripMs: LatencySummary;
  /** What the server said of itself. */
  readonly accountId: string | undefined;
  readonly connectionId: string | undefined;
  /** What the server speaks; undefined while there is no connection. */
  readonly protocolVersion: ProtocolVersion | undefined;
  readonly isUpgraded: boolean;
}

/** What a closed link could not deliver. */
export interface LinkCloseReport {
  /** Calls that had been sent and got no answer. */
  readonly unanswered: number;
  /** Calls that had never been sent. */
  readonly notSent: number;
  /** Calls of the server whose handlers were cancelled. */
  readonly cancelled: number;
}
