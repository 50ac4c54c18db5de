import { isRecord } from './message-body.js';

/**
 * Readers for the extension keys. Whatever a peer wrote there, these give a value of the right shape or
 * undefined; a malformed extension is as good as an absent one.
 */

export type Metadata = Readonly<Record<string, string>>;

/** An object of strings. */
export function readMeta(value: unknown): Metadata | undefined {
  if (!isRecord(value)) return undefined;
  for (const key in value) if (typeof value[key] !== 'string') return undefined;
  return value as Metadata;
}

export function readInteger(value: unknown): number | undefined {
  return Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : undefined;
}

/** What a peer calls itself is kept; more of it is not. */
const LONGEST_NAME = 200;

export interface Hello {
  readonly name: string;
  readonly accountId: string | undefined;
  readonly maxFrameBytes: number | undefined;
  /** Whether it follows the numbers of kept rooms. */
  readonly canResume: boolean;
  /** Where it was, as it stands on the wire. */
  readonly resume: unknown;
  readonly caps: readonly string[];
}

/** What an upgraded client says of itself. */
export function readHello(value: unknown): Hello | undefined {
  if (!isRecord(value)) return undefined;
  const { name, caps, account_id: accountId, max_frame_bytes: maxFrameBytes } = value;
  if (typeof name !== 'string' || !Array.isArray(caps)) return undefined;
  return {
    name: name.slice(0, LONGEST_NAME),
    caps: caps.filter((cap): cap is string => typeof cap === 'string'),
    accountId: typeof accountId === 'string' ? accountId.slice(0, LONGEST_NAME) : undefined,
    maxFrameBytes: readInteger(maxFrameBytes),
    canResume: caps.includes('resume'),
    resume: value['resume'],
  };
}

export interface GreetingInfo {
  readonly accountId: string;
  readonly connectionId: string;
  /** Undefined from a plain server. */
  readonly caps: readonly string[] | undefined;
  readonly maxFrameBytes: number | undefined;
}

/** The `data` of a greeting. */
export function readGreeting(data: unknown): GreetingInfo {
  const record = isRecord(data) ? data : {};
  const { account_id: accountId, conn_id: connectionId, caps, max_frame_bytes: maxFrameBytes } = record;
  return {
    accountId: typeof accountId === 'string' ? accountId : '',
    connectionId: typeof connectionId === 'string' ? connectionId : '',
    caps: Array.isArray(caps) ? caps.filter((cap): cap is string => typeof cap === 'string') : undefined,
    maxFrameBytes: readInteger(maxFrameBytes),
  };
}

export interface ErrorDetail {
  readonly code: string | undefined;
  readonly message: string | undefined;
  readonly details: unknown;
  readonly payload: unknown;
  /** The server did not start the call. */
  readonly isRefusal: boolean;
}

export function readErrorDetail(value: unknown): ErrorDetail {
  const record = isRecord(value) ? value : {};
  const { code, message, details, payload, refused } = record;
  return {
    code: typeof code === 'string' ? code : undefined,
    message: typeof message === 'string' ? message : undefined,
    details,
    payload,
    isRefusal: refused === true,
  };
}
