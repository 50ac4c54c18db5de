import type { ReceivedPush } from '../client/push-subscription.js';
import type { PushGap } from '../client/push-positions.js';
import type { UnixSocketError } from '../errors/unix-socket.error.js';
import type { ClientConnection } from '../server/client-connection.js';

/** Values of `server.status`. */
export const UnixSocketServerStatus = {
  Listening: 'connected',
  Degraded: 'degraded',
  Closed: 'disconnected',
} as const;
export type UnixSocketServerStatus = (typeof UnixSocketServerStatus)[keyof typeof UnixSocketServerStatus];

/** Values of `client.status`. */
export const UnixSocketClientStatus = {
  Connecting: 'connecting',
  Connected: 'connected',
  Reconnecting: 'reconnecting',
  Draining: 'draining',
  Disconnected: 'disconnected',
} as const;
export type UnixSocketClientStatus = (typeof UnixSocketClientStatus)[keyof typeof UnixSocketClientStatus];

/** Events of `server.on()`. */
export type UnixSocketServerEvents = {
  listening: () => void;
  close: () => void;
  connect: (connection: ClientConnection) => void;
  /** `cause` is undefined after an ordinary end. */
  disconnect: (connection: ClientConnection, cause: Error | undefined) => void;
  /** The client has said that it takes calls: it may be asked now. */
  callable: (connection: ClientConnection) => void;
  /** Pushes to this client begin to wait, because it does not read them. */
  slowConsumer: (connection: ClientConnection) => void;
  /** A connection that was not taken. */
  refused: (reason: string) => void;
  /** Another process has the path now; this server drains, and emits `close` when it is done. */
  takenOver: () => void;
  /** The server goes on, but something is wrong with its listening socket. */
  trouble: (error: Error) => void;
};

/** Events of `client.on()`. */
export type UnixSocketClientEvents = {
  connect: () => void;
  disconnect: (error: UnixSocketError) => void;
  reconnecting: (attempt: number, delayMs: number, error: UnixSocketError) => void;
  push: (push: ReceivedPush) => void;
  /** Pushes of a kept room are missing. */
  gap: (gap: PushGap) => void;
};
