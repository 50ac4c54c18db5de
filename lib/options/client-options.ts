import { InvalidOptionError } from '../errors/option.errors.js';
import type { ProtocolVersion } from '../protocol/dialect.js';
import type { CodecChoice } from '../protocol/payload.js';
import { resolveEndpoint, type Endpoint, type EndpointOptions } from './endpoint.js';
import {
  aBoolean,
  aCodec,
  aString,
  atLeast,
  milliseconds,
  numberFrom,
  oneOf,
  resolveTable,
  withRoomForMessages,
  type Given,
  type Rules,
} from './rules.js';

/** Reconnecting: when, and for how long. */
export interface ReconnectSettings {
  /** @default true */
  enabled: boolean;
  /** Longest wait before the first new attempt; each wait is random up to its bound. Milliseconds. @default 500 */
  initialDelayMs: number;
  /** Bound on any wait. Milliseconds. @default 15000 */
  maxDelayMs: number;
  /** Growth of the bound from one attempt to the next. @default 1.5 */
  multiplier: number;
  /** Attempts in a row before waiting calls fail and the link rests until the next call; 0 for no limit. @default 0 */
  maxAttempts: number;
}

/** Client-side heartbeat. */
export interface ClientHeartbeat {
  /** @default true */
  enabled: boolean;
  /** A plain server cuts clients that do not beat within 60 s. Milliseconds. @default 15000 */
  intervalMs: number;
  /** Silence after which the server counts as gone. Milliseconds, 0 for never. @default 45000 */
  timeoutMs: number;
}

/** How `emit` reaches the server: as a push, as a request whose answer is dropped, or whichever the server understands. */
export type EventsAs = 'auto' | 'push' | 'request';

/**
 * What happens to a call made while there is no connection. `wait`: it waits for one, within its own time limit.
 * `fail`: it fails at once, or with the attempt that is under way. `{ queue }`: as `wait`, for so many calls.
 */
export type OfflinePolicy = 'wait' | 'fail' | { readonly queue: number };

/** Options of the client beside where it connects, with their defaults filled in. */
export interface ClientSettings {
  /** Who this client is. A V1 server of another account is refused, unless this is empty. @default '' */
  accountId: string;
  /** Bound on the wait for an answer, or for the first value of a stream. Milliseconds, 0 for never. @default 10000 */
  requestTimeoutMs: number;
  /** Bound on the gap between two values of a stream. Milliseconds, 0 for never. @default 0 */
  idleTimeoutMs: number;
  /** Bound on one attempt to connect, greeting included; also on `connect()`. Milliseconds. @default 5000 */
  connectTimeoutMs: number;
  /** False for hand-made servers that do not greet. @default true */
  awaitGreeting: boolean;
  /** Version of the base protocol. `auto`: told by the server's greeting. @default 'auto' */
  protocol: ProtocolVersion | 'auto';
  /**
   * How payloads travel between two ends of this package. `auto`: as MessagePack what holds binary or long strings, all
   * else as JSON. `msgpack` or a codec of one's own: all of them. Only where both ends have the codec; else JSON.
   * @default 'auto'
   */
  codec: CodecChoice;
  /** Whether integers beyond 2^53 are BigInts, with all their digits, and BigInts may be sent. @default false */
  bigint: boolean;
  /** @default 'auto' */
  eventsAs: EventsAs;
  /** Limit on one message in bytes, both ways. @default 16777216 (16 MiB) */
  maxFrameBytes: number;
  /** A begun frame without progress for so long ends the connection. Milliseconds, 0 for never. @default 30000 */
  frameTimeoutMs: number;
  /**
   * Calls fail while more than this waits to be taken by the server.
   * @default 67108864 (64 MiB), or `4 * maxFrameBytes` if that is more
   */
  maxSendQueueBytes: number;
  /** @default 'wait' */
  offline: OfflinePolicy;
  /** Calls that may wait for a connection. @default 65536 */
  maxOfflineCalls: number;
  /**
   * Bytes of calls that may wait for a connection.
   * @default 67108864 (64 MiB), or `4 * maxFrameBytes` if that is more
   */
  maxOfflineBytes: number;
  /** How often one call is sent again: an idempotent one after a loss, any one that a server going away refused. @default 10 */
  maxRepeats: number;
  /** How long `close()` waits for answers. Milliseconds. @default 5000 */
  drainTimeoutMs: number;
  /** Pushes that may wait for one subscription to pushes, unless its `bufferSize` says so itself. @default 10000 */
  maxQueuedPushes: number;
  /** Calls of the server that run at the same time; more wait. @default 1024 */
  maxConcurrentPerConnection: number;
  /** Calls of the server that may wait for their turn; more are refused. @default 65536 */
  maxQueuedPerConnection: number;
  /**
   * Bytes of calls of the server that may wait for their turn.
   * @default 67108864 (64 MiB), or `4 * maxFrameBytes` if that is more
   */
  maxQueuedBytesPerConnection: number;
}

/** What a client may be given. */
export interface LinkOptions extends EndpointOptions, Given<ClientSettings> {
  readonly reconnect?: Given<ReconnectSettings> | undefined;
  readonly heartbeat?: Given<ClientHeartbeat> | undefined;
}

export interface ResolvedLinkOptions extends ClientSettings {
  readonly endpoint: Endpoint;
  readonly reconnect: Readonly<ReconnectSettings>;
  readonly heartbeat: Readonly<ClientHeartbeat>;
}

const MIB = 1024 * 1024;

export const CLIENT_DEFAULTS: Readonly<ClientSettings> = {
  accountId: '',
  requestTimeoutMs: 10_000,
  idleTimeoutMs: 0,
  connectTimeoutMs: 5_000,
  awaitGreeting: true,
  protocol: 'auto',
  codec: 'auto',
  bigint: false,
  eventsAs: 'auto',
  maxFrameBytes: 16 * MIB,
  frameTimeoutMs: 30_000,
  maxSendQueueBytes: 64 * MIB,
  offline: 'wait',
  maxOfflineCalls: 65_536,
  maxOfflineBytes: 64 * MIB,
  maxRepeats: 10,
  drainTimeoutMs: 5_000,
  maxQueuedPushes: 10_000,
  maxConcurrentPerConnection: 1_024,
  maxQueuedPerConnection: 65_536,
  maxQueuedBytesPerConnection: 64 * MIB,
};

export const RECONNECT_DEFAULTS: Readonly<ReconnectSettings> = {
  enabled: true,
  initialDelayMs: 500,
  maxDelayMs: 15_000,
  multiplier: 1.5,
  maxAttempts: 0,
};

export const CLIENT_HEARTBEAT_DEFAULTS: Readonly<ClientHeartbeat> = {
  enabled: true,
  intervalMs: 15_000,
  timeoutMs: 45_000,
};

const RULES: Rules<ClientSettings> = {
  accountId: aString,
  requestTimeoutMs: milliseconds(0),
  idleTimeoutMs: milliseconds(0),
  connectTimeoutMs: milliseconds(1),
  awaitGreeting: aBoolean,
  protocol: oneOf('auto', 'v2', 'v1'),
  codec: aCodec,
  bigint: aBoolean,
  eventsAs: oneOf('auto', 'push', 'request'),
  maxFrameBytes: atLeast(1_024),
  frameTimeoutMs: milliseconds(0),
  maxSendQueueBytes: atLeast(1_024),
  offline: {
    expected: '"wait", "fail" or { queue: a whole number of at least 1 }',
    accepts: (value) =>
      value === 'wait' ||
      value === 'fail' ||
      atLeast(1).accepts((value as { queue?: unknown } | null | undefined)?.queue),
  },
  maxOfflineCalls: atLeast(1),
  maxOfflineBytes: atLeast(1),
  maxRepeats: atLeast(0),
  drainTimeoutMs: milliseconds(0),
  maxQueuedPushes: atLeast(1),
  maxConcurrentPerConnection: atLeast(1),
  maxQueuedPerConnection: atLeast(0),
  maxQueuedBytesPerConnection: atLeast(0),
};

const RECONNECT_RULES: Rules<ReconnectSettings> = {
  enabled: aBoolean,
  initialDelayMs: milliseconds(0),
  maxDelayMs: milliseconds(0),
  multiplier: numberFrom(1),
  maxAttempts: atLeast(0),
};

const HEARTBEAT_RULES: Rules<ClientHeartbeat> = {
  enabled: aBoolean,
  intervalMs: milliseconds(0),
  timeoutMs: milliseconds(0),
};

/** @throws InvalidOptionError, PathTooLongError */
export function resolveLinkOptions(options: LinkOptions | undefined): ResolvedLinkOptions {
  const endpoint = resolveEndpoint(options);
  if ('fd' in endpoint)
    throw new InvalidOptionError(
      'fd',
      endpoint.fd,
      'a path or address to connect to: only servers listen on descriptors',
    );
  return Object.freeze({
    ...withRoomForMessages(
      resolveTable(options, CLIENT_DEFAULTS, RULES),
      options,
      'maxSendQueueBytes',
      'maxOfflineBytes',
      'maxQueuedBytesPerConnection',
    ),
    reconnect: resolveTable(options?.reconnect, RECONNECT_DEFAULTS, RECONNECT_RULES, 'reconnect.'),
    heartbeat: resolveTable(options?.heartbeat, CLIENT_HEARTBEAT_DEFAULTS, HEARTBEAT_RULES, 'heartbeat.'),
    endpoint,
  });
}
