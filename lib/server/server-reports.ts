import type { IncomingCall } from '../calls/incoming-call.js';
import type { LatencySummary, MessageCounts } from '../connection/stats.js';
import type { ProtocolVersion } from '../protocol/dialect.js';
import type { Caller, ClientConnection } from './client-connection.js';

/** What a server tells whoever runs it. All optional but `onCall`. */
export interface SocketServerEvents {
  /** A request or event for which no function is registered. False: not handled either. */
  onCall?(call: IncomingCall<Caller>): boolean;
  onConnect?(connection: ClientConnection): void;
  /** `cause` is undefined after an ordinary end. */
  onDisconnect?(connection: ClientConnection, cause: Error | undefined): void;
  /** The client has said that it takes calls: it may be asked now. */
  onCallable?(connection: ClientConnection): void;
  /** Pushes to this client begin to wait, because it does not read them. */
  onSlowConsumer?(connection: ClientConnection): void;
  /** The function given to `authorizeResume` failed; the client enters none of its rooms. */
  onResumeFailed?(connection: ClientConnection, error: unknown): void;
  /** A connection that was not taken. */
  onRefused?(reason: string): void;
  /** The server goes on, but something is wrong with its listening socket. */
  onTrouble?(error: Error): void;
  onPathRestored?(): void;
  /** Nothing that `onTrouble` told of is wrong any more: the path is back, a connection was accepted again. */
  onRecovered?(): void;
  /** A successor has the path now; this server drains and closes by itself. */
  onTakenOver?(): void;
}

/** One connection in {@link ServerStats}. */
export interface ConnectionStats {
  readonly id: string;
  /** Undefined until the client has sent its first frame. */
  readonly version: ProtocolVersion | undefined;
  readonly isUpgraded: boolean;
  readonly clientName: string | undefined;
  /** Milliseconds since the epoch. */
  readonly since: number;
  readonly lastActivity: number;
  /** Not yet taken by the client. */
  readonly queuedBytes: number;
  /** Pushes that wait for it to read. */
  readonly queuedPushes: number;
  readonly rooms: readonly string[];
  readonly accountId: string | undefined;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly inFlight: number;
  readonly queued: number;
  /** Calls to it that it has not answered. */
  readonly pending: number;
  readonly roundTripMs: number | undefined;
}

/** What a closed server did not let finish. */
export interface ServerCloseReport {
  /** Calls whose handlers were cancelled. */
  readonly cancelled: number;
  /** Calls to clients that had got no answer. */
  readonly unanswered: number;
  /** Connections whose clients had not left in time. */
  readonly unfinishedConnections: number;
}

/** A frozen snapshot of a server's counters. */
export interface ServerStats {
  /** Connections accepted since the start. */
  readonly totalConnections: number;
  readonly activeConnections: number;
  readonly refusedConnections: number;
  /** All messages received, heartbeats too. */
  readonly messagesReceived: number;
  /** Responses, pushes and requests sent; heartbeats and greetings are not counted. */
  readonly messagesSent: number;
  readonly receivedByType: MessageCounts;
  readonly sentByType: MessageCounts;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  /** Pushes dropped or replaced because a client was slow to read. */
  readonly pushesDropped: number;
  /** How often a client became too slow for its pushes. */
  readonly slowConsumers: number;
  /** Clients that have come back and gone on where they were. */
  readonly resumedConnections: number;
  /** Clients that may still come back. */
  readonly awayClients: number;
  /** Bytes of the pushes kept for those who come back. */
  readonly keptBytes: number;
  /** Running handlers. */
  readonly inFlight: number;
  /** Calls waiting for their turn. */
  readonly queued: number;
  /** Calls to clients that have not been answered. */
  readonly pending: number;
  /** Calls to clients that failed. */
  readonly failuresByCode: Readonly<Record<string, number>>;
  /**
   * Bad peers, overloads, results that could not be sent, and events whose handlers failed (`EVENT_FAILED`). Errors that
   * handlers answer requests with are not among them.
   */
  readonly errors: number;
  readonly errorsByCode: Readonly<Record<string, number>>;
  /** From the start of a handler to its answer. */
  readonly handlerLatencyMs: LatencySummary;
  readonly connections: readonly ConnectionStats[];
}
