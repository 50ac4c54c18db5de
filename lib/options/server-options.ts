import type { ProtocolVersion } from '../protocol/dialect.js';
import type { CodecChoice } from '../protocol/payload.js';
import { resolveEndpoint, type Endpoint, type ServerEndpointOptions } from './endpoint.js';
import {
  aBoolean,
  aCodec,
  aString,
  atLeast,
  milliseconds,
  oneOf,
  resolveTable,
  withRoomForMessages,
  someOf,
  type Given,
  type Rules,
} from './rules.js';

/** How requests of one connection run: side by side, or one after the other as the original server does. */
export type Handling = 'concurrent' | 'sequential';

/** Server-side heartbeat. */
export interface ServerHeartbeat {
  /** Whether silent connections are ended. @default true */
  enabled: boolean;
  /** How often upgraded clients are probed. Milliseconds, 0 for never. @default 15000 */
  intervalMs: number;
  /** A connection from which nothing came for so long is ended. Milliseconds, 0 for never. @default 60000 */
  timeoutMs: number;
}

/** Recognising calls that a client sends again after a loss. */
export interface ServerDeduplication {
  /** @default false */
  enabled: boolean;
  /** How long an answer is kept, and how long a call runs on that nobody waits for. Milliseconds. @default 60000 */
  windowMs: number;
  /** Calls remembered. @default 10000 */
  maxEntries: number;
  /** Bytes of answers kept. @default 67108864 (64 MiB) */
  maxBytes: number;
}

/** Rooms whose pushes and memberships survive a reconnect. */
export interface ServerResume {
  /** Names of rooms, or a function that tells. @default []: none */
  rooms: readonly string[] | ((room: string) => boolean);
  /** How long a push is kept, and how long a client that was lost may come back. Milliseconds. @default 60000 */
  windowMs: number;
  /** Pushes kept for each room. @default 1000 */
  maxPushes: number;
  /** Bytes of pushes kept for each room. @default 8388608 (8 MiB) */
  maxBytes: number;
  /** Lost clients remembered; beyond, those that left first are forgotten. @default 10000 */
  maxClients: number;
}

/** Options of the server beside where it listens, with their defaults filled in. */
export interface ServerSettings {
  /** Told to every client in the greeting. @default '' */
  accountId: string;
  /** The versions of the base protocol whose clients are served, all on one socket. @default ['v2', 'v1'] */
  protocols: readonly ProtocolVersion[];
  /**
   * Whether results to V1 clients also stand in `message`, as `{ data }`: the later V1 Python client fails at every
   * other result. @default false
   */
  v1ResultInMessage: boolean;
  /**
   * Silence after which a client that has never sent a byte is disconnected; it may be a V1 client that only listens.
   * With `protocols: ['v2']`, `heartbeat.timeoutMs` counts from the start. Milliseconds, 0 for never. @default 0
   */
  silentPeerTimeoutMs: number;
  /** Of such clients; more of them are disconnected after `heartbeat.timeoutMs`. @default 1000 */
  maxSilentPeers: number;
  /**
   * How payloads travel between two ends of this package. `auto`: as MessagePack what holds binary or long strings, all
   * else as JSON. `msgpack` or a codec of one's own: all of them. Only where both ends have the codec; else JSON.
   * @default 'auto'
   */
  codec: CodecChoice;
  /** Whether integers beyond 2^53 are BigInts, with all their digits, and BigInts may be sent. @default false */
  bigint: boolean;
  /** @default 'concurrent' */
  handling: Handling;
  /** Limit on one message in bytes, both ways. @default 16777216 (16 MiB) */
  maxFrameBytes: number;
  /** A begun frame without progress for so long ends its connection. Milliseconds, 0 for never. @default 30000 */
  frameTimeoutMs: number;
  /** More connections than this are refused. @default 10000 */
  maxConnections: number;
  /** Requests of one connection that run at the same time; more wait. @default 1024 */
  maxConcurrentPerConnection: number;
  /** Requests of one connection that may wait for their turn. @default 65536 */
  maxQueuedPerConnection: number;
  /**
   * Bytes of requests of one connection that may wait for their turn.
   * @default 67108864 (64 MiB), or `4 * maxFrameBytes` if that is more
   */
  maxQueuedBytesPerConnection: number;
  /** Calls to one client that may wait for their answers; more fail. @default 65536 */
  maxPendingPerConnection: number;
  /** Bound on the wait for a client's answer, or for the first value of a stream. Milliseconds, 0 for never. @default 10000 */
  requestTimeoutMs: number;
  /** Bound on the gap between two values of a client's stream. Milliseconds, 0 for never. @default 0 */
  idleTimeoutMs: number;
  /**
   * A client for which more than this is queued because it does not read is disconnected.
   * @default 67108864 (64 MiB), or `4 * maxFrameBytes` if that is more
   */
  maxSendQueueBytes: number;
  /** How long `close()` waits for running requests. Milliseconds. @default 10000 */
  drainTimeoutMs: number;
  /** Connections the kernel holds ready before they are accepted. @default 511 */
  backlog: number;
  /** File mode of the socket. @default 0o600 */
  mode: number;
  /** Numeric group of the socket file; -1 leaves it as it is. @default -1 */
  group: number;
  /**
   * Whether this server takes the path from a running one that has the same option, and gives it to the next one
   * that asks: a new process takes over while the old one drains, and no call is lost. Whoever may connect may ask.
   * @default false
   */
  takeOver: boolean;
  /** How often the socket's path is checked and, if it vanished, restored. Milliseconds, 0 for never. @default 5000 */
  pathWatchIntervalMs: number;
}

/** What a server may be given. */
export interface SocketServerOptions extends ServerEndpointOptions, Given<ServerSettings> {
  readonly heartbeat?: Given<ServerHeartbeat> | undefined;
  readonly deduplication?: Given<ServerDeduplication> | undefined;
  readonly resume?: Given<ServerResume> | undefined;
}

export interface ResolvedServerOptions extends ServerSettings {
  readonly endpoint: Endpoint;
  readonly heartbeat: Readonly<ServerHeartbeat>;
  readonly deduplication: Readonly<ServerDeduplication>;
  readonly resume: Readonly<ServerResume>;
}

const MIB = 1024 * 1024;

export const SERVER_DEFAULTS: Readonly<ServerSettings> = {
  accountId: '',
  protocols: ['v2', 'v1'],
  v1ResultInMessage: false,
  silentPeerTimeoutMs: 0,
  maxSilentPeers: 1_000,
  codec: 'auto',
  bigint: false,
  handling: 'concurrent',
  maxFrameBytes: 16 * MIB,
  frameTimeoutMs: 30_000,
  maxConnections: 10_000,
  maxConcurrentPerConnection: 1_024,
  maxQueuedPerConnection: 65_536,
  maxQueuedBytesPerConnection: 64 * MIB,
  maxPendingPerConnection: 65_536,
  requestTimeoutMs: 10_000,
  idleTimeoutMs: 0,
  maxSendQueueBytes: 64 * MIB,
  drainTimeoutMs: 10_000,
  backlog: 511,
  mode: 0o600,
  group: -1,
  takeOver: false,
  pathWatchIntervalMs: 5_000,
};

export const SERVER_HEARTBEAT_DEFAULTS: Readonly<ServerHeartbeat> = {
  enabled: true,
  intervalMs: 15_000,
  timeoutMs: 60_000,
};

export const DEDUPLICATION_DEFAULTS: Readonly<ServerDeduplication> = {
  enabled: false,
  windowMs: 60_000,
  maxEntries: 10_000,
  maxBytes: 64 * MIB,
};

export const RESUME_DEFAULTS: Readonly<ServerResume> = {
  rooms: [],
  windowMs: 60_000,
  maxPushes: 1_000,
  maxBytes: 8 * MIB,
  maxClients: 10_000,
};

const RULES: Rules<ServerSettings> = {
  accountId: aString,
  protocols: someOf('v2', 'v1'),
  v1ResultInMessage: aBoolean,
  silentPeerTimeoutMs: milliseconds(0),
  maxSilentPeers: atLeast(0),
  codec: aCodec,
  bigint: aBoolean,
  handling: oneOf('concurrent', 'sequential'),
  maxFrameBytes: atLeast(1_024),
  frameTimeoutMs: milliseconds(0),
  maxConnections: atLeast(1),
  maxConcurrentPerConnection: atLeast(1),
  maxQueuedPerConnection: atLeast(0),
  maxQueuedBytesPerConnection: atLeast(0),
  maxPendingPerConnection: atLeast(1),
  requestTimeoutMs: milliseconds(0),
  idleTimeoutMs: milliseconds(0),
  maxSendQueueBytes: atLeast(1_024),
  drainTimeoutMs: milliseconds(0),
  backlog: atLeast(1),
  mode: {
    expected: 'a file mode from 0 to 0o777',
    accepts: (value) => Number.isInteger(value) && Number(value) >= 0 && Number(value) <= 0o777,
  },
  group: {
    expected: 'a numeric group id, or -1',
    accepts: (value) => Number.isInteger(value) && Number(value) >= -1,
  },
  takeOver: aBoolean,
  pathWatchIntervalMs: milliseconds(0),
};

const HEARTBEAT_RULES: Rules<ServerHeartbeat> = {
  enabled: aBoolean,
  intervalMs: milliseconds(0),
  timeoutMs: milliseconds(0),
};

const DEDUPLICATION_RULES: Rules<ServerDeduplication> = {
  enabled: aBoolean,
  windowMs: milliseconds(1),
  maxEntries: atLeast(1),
  maxBytes: atLeast(0),
};

const RESUME_RULES: Rules<ServerResume> = {
  rooms: {
    expected: 'names of rooms, or a function that takes a name and returns true or false',
    accepts: (value) =>
      typeof value === 'function' ||
      (Array.isArray(value) && value.every((room: unknown) => typeof room === 'string')),
  },
  windowMs: milliseconds(1),
  maxPushes: atLeast(1),
  maxBytes: atLeast(0),
  maxClients: atLeast(0),
};

/** @throws InvalidOptionError, PathTooLongError */
export function resolveServerOptions(options: SocketServerOptions | undefined): ResolvedServerOptions {
  const endpoint = resolveEndpoint(options);
  return Object.freeze({
    ...withRoomForMessages(
      resolveTable(options, SERVER_DEFAULTS, RULES),
      options,
      'maxSendQueueBytes',
      'maxQueuedBytesPerConnection',
    ),
    heartbeat: resolveTable(options?.heartbeat, SERVER_HEARTBEAT_DEFAULTS, HEARTBEAT_RULES, 'heartbeat.'),
    deduplication: resolveTable(
      options?.deduplication,
      DEDUPLICATION_DEFAULTS,
      DEDUPLICATION_RULES,
      'deduplication.',
    ),
    resume: resolveTable(options?.resume, RESUME_DEFAULTS, RESUME_RULES, 'resume.'),
    endpoint,
  });
}
