import type { Frame } from '../protocol/frame-writer.js';
import type { MessageType } from '../protocol/message-body.js';

/** What happened to a push. */
export interface PushOutcome {
  /** Connections it was handed to. */
  readonly recipients: number;
  /** Connections it was meant for and not handed to, because they do not read. */
  readonly dropped: number;
}

/** A connected client, as handlers and applications see it. */
export interface ClientConnection {
  /** Eight hex digits, told to the client in its greeting. Unique among the server's live connections. */
  readonly id: string;
  /** Whether the client is one of ours: it understands streams, cancellation, metadata and the like. */
  readonly isUpgraded: boolean;
  /** Version of the base protocol. */
  readonly protocolVersion: 'v2';
  /** What an upgraded client said of itself. */
  readonly clientName: string | undefined;
  /** When it connected, milliseconds since the epoch. */
  readonly connectedAt: number;
  readonly isConnected: boolean;
  /** Sends a message to this client alone. @throws EncodeError, FrameTooLargeError */
  push(type: string, data: unknown): PushOutcome;
  /** Sends what is queued and ends the connection; with `reason`, an upgraded client is told. */
  close(reason?: string): void;
}

/** What a call needs of the connection it came from. */
export interface Caller extends ClientConnection {
  readonly maxFrameBytes: number;
  sendFrame(frame: Frame, type: MessageType): void;
  /** Counts a failure under its code. */
  noteError(code: string): void;
}
