import { readInteger } from './guards.js';
import { isRecord } from './message-body.js';

/**
 * How pushes to kept rooms are numbered, and what the two ends tell each other about it. Readers give undefined, or
 * leave out, what a peer wrote wrongly.
 */

/** The place of one push in a room: numbers count up by one within an epoch, and begin anew in the next. */
export interface RoomPosition {
  readonly room: string;
  readonly epoch: string;
  readonly n: number;
}

/** `resume` in a client's `hello`. */
export interface ResumeRequest {
  readonly token: string;
  /** What it had received last. */
  readonly positions: readonly RoomPosition[];
}

/**
 * What a server says of a room. A position: whatever came before it and has not arrived is lost. With `skip`, number
 * `n` was for others only. Without a position: the client has left the room.
 */
export type RoomMark =
  (RoomPosition & { readonly skip?: true | undefined }) | { readonly room: string; readonly n?: undefined };

/** `resume` in a server's heartbeat. */
export interface ResumeNotice {
  /** Shown in the next `hello`. */
  readonly token?: string | undefined;
  readonly positions: readonly RoomMark[];
  /** The answer to `resume` in `hello`: rooms not named by now are lost. */
  readonly answer?: true | undefined;
}

/** Rooms with longer names are not kept. */
export const LONGEST_ROOM_NAME = 1_000;
const LONGEST_TOKEN = 200;

/** `seq` of a push. */
export function readSeq(value: unknown): readonly RoomPosition[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const positions = value.map(readPosition);
  return positions.length > 0 && positions.every((position) => position !== undefined)
    ? positions
    : undefined;
}

export function readResumeRequest(value: unknown): ResumeRequest | undefined {
  if (!isRecord(value) || !isToken(value['token']) || !Array.isArray(value['positions'])) return undefined;
  return { token: value['token'], positions: value['positions'].flatMap((each) => readPosition(each) ?? []) };
}

export function readResumeNotice(value: unknown): ResumeNotice | undefined {
  if (!isRecord(value) || !Array.isArray(value['positions'])) return undefined;
  const { token, positions, answer } = value;
  return {
    token: isToken(token) ? token : undefined,
    positions: positions.flatMap((each) => readMark(each) ?? []),
    answer: answer === true ? true : undefined,
  };
}

function readMark(value: unknown): RoomMark | undefined {
  if (!isRecord(value)) return undefined;
  const { room, n, skip } = value;
  if (n === undefined) return isName(room) ? { room } : undefined;
  const position = readPosition(value);
  return position !== undefined && skip === true ? { ...position, skip } : position;
}

function readPosition(value: unknown): RoomPosition | undefined {
  if (!isRecord(value)) return undefined;
  const { room, epoch } = value;
  const n = readInteger(value['n']);
  return n !== undefined && isName(room) && isToken(epoch) ? { room, epoch, n } : undefined;
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value.length <= LONGEST_ROOM_NAME;
}

function isToken(value: unknown): value is string {
  return typeof value === 'string' && value.length <= LONGEST_TOKEN;
}
