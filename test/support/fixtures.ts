import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Frames that real peers sent, and hand-made ones given to real peers. */
const FOLDER = join(__dirname, '..', 'fixtures');

/** A long frame: `hex_head`, then `hex_unit` so many times, then `hex_tail`. */
interface Rebuild {
  readonly hex_head: string;
  readonly hex_unit: string;
  readonly times: number;
  readonly hex_tail: string;
}

interface FrameRow {
  readonly name: string;
  readonly version: 'v1' | 'v2';
  readonly from: 'client' | 'server';
  readonly hex: string | null;
  readonly rebuild?: Rebuild;
  readonly length?: number;
  readonly sha256?: string;
  readonly decoded: unknown;
}

/** A recorded frame: its bytes with the header, and what they mean. */
export interface RecordedFrame extends Omit<FrameRow, 'decoded'> {
  readonly bytes: Buffer;
  readonly decoded: Record<string, unknown>;
}

export interface ServerVector {
  readonly name: string;
  readonly version: 'v1' | 'v2';
  readonly to: 'server';
  readonly hex: string;
  readonly outcome: 'reply' | 'closed' | 'silence';
  readonly reply?: Record<string, unknown>;
}

export interface ClientVector {
  readonly name: string;
  readonly version: 'v1' | 'v2';
  readonly to: 'client';
  /** The body of the greeting, as text. */
  readonly greeting: string;
  /** Bodies as text, JSON or not; `@ID@` stands for the id of the client's request. */
  readonly bodies: readonly string[];
  readonly result: unknown;
  readonly pushes: readonly (readonly [type: string, data: unknown])[];
  readonly still_connected: boolean;
}

function readLines(file: string): unknown[] {
  return readFileSync(join(FOLDER, file), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as unknown);
}

export function recordedFrames(version: 'v1' | 'v2'): RecordedFrame[] {
  return (readLines('frames.jsonl') as FrameRow[])
    .filter((row) => row.version === version)
    .map((row) => {
      const bytes = row.rebuild === undefined ? Buffer.from(row.hex ?? '', 'hex') : rebuild(row.rebuild);
      return { ...row, bytes, decoded: meant(row.decoded) as Record<string, unknown> };
    });
}

export function vectors<To extends 'server' | 'client'>(
  version: 'v1' | 'v2',
  to: To,
): (To extends 'server' ? ServerVector : ClientVector)[] {
  const rows = readLines('vectors.jsonl') as (ServerVector | ClientVector)[];
  return rows.filter((row) => row.version === version && row.to === to) as never;
}

function rebuild({ hex_head: head, hex_unit: unit, times, hex_tail: tail }: Rebuild): Buffer {
  const units = Buffer.alloc((unit.length / 2) * times, unit, 'hex');
  return Buffer.concat([Buffer.from(head, 'hex'), units, Buffer.from(tail, 'hex')]);
}

/**
 * The value that a row's `decoded` stands for: bare NaN and infinities read as null, tagged bytes as a Buffer, and
 * a long text is its unit so many times.
 */
function meant(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => meant(item));
  const record = value as Record<string, unknown>;
  if ('$literal' in record) return null;
  if ('$long_string' in record) return longText(record['$long_string'] as LongString);
  if ('__bytes__' in record) return Buffer.from(record['__bytes__'] as string, 'hex');
  return Object.fromEntries(Object.entries(record).map(([key, item]) => [key, meant(item)]));
}

interface LongString {
  readonly starts: string;
  readonly length_utf16: number;
}

/** Its eight first characters are all alike in every row. */
function longText({ starts, length_utf16: length }: LongString): string {
  return starts.charAt(0).repeat(length);
}
