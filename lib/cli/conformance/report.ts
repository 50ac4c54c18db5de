import { HEADER_BYTES } from '../../protocol/frame-reader.js';
import type { Verdict } from './verdict.js';

const MARKS = { passed: '✓', failed: '✗', skipped: '-' } as const;
const MOST_BYTES = 64;
const MOST_CHARACTERS = 300;

/** One verdict for people. A failure shows the bytes on both sides. */
export function formatVerdict(verdict: Verdict): string {
  const { rule, status, summary, reason, expected, got, sent, received } = verdict;
  const lines = [`${MARKS[status]} ${rule.padEnd(24)} ${summary}`];
  if (reason !== undefined) lines.push(`    skipped   ${reason}`);
  if (expected !== undefined) lines.push(`    expected  ${expected}`, `    got       ${got}`);
  if (sent !== undefined) lines.push(...formatBytes('sent', sent));
  if (received !== undefined) lines.push(...formatBytes('received', received));
  return lines.join('\n');
}

export function formatSummary(verdicts: readonly Verdict[]): string {
  const { passed, failed, skipped } = countVerdicts(verdicts);
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

export function countVerdicts(verdicts: readonly Verdict[]): Record<Verdict['status'], number> {
  const count = (status: Verdict['status']): number =>
    verdicts.filter((verdict) => verdict.status === status).length;
  return { passed: count('passed'), failed: count('failed'), skipped: count('skipped') };
}

/** A verdict as JSON has it: bytes in hex. */
export function toJson({ sent, received, ...verdict }: Verdict): object {
  return {
    ...verdict,
    ...(sent === undefined ? {} : { sentHex: sent.toString('hex') }),
    ...(received === undefined ? {} : { receivedHex: received.toString('hex') }),
  };
}

function formatBytes(label: string, bytes: Buffer): string[] {
  const hex = bytes.toString('hex', 0, MOST_BYTES).replace(/(.{8})(?=.)/g, '$1 ');
  const rest = bytes.length > MOST_BYTES ? ` … ${bytes.length} bytes` : '';
  return [`    ${label.padEnd(9)} ${hex}${rest}`, `    ${''.padEnd(9)} ${readable(bytes)}`];
}

/** The body as text; what is not printable as an escape. */
function readable(bytes: Buffer): string {
  const body = bytes.toString('utf8', HEADER_BYTES, HEADER_BYTES + MOST_CHARACTERS);
  const text = JSON.stringify(body).slice(1, -1).replaceAll('\\"', '"');
  return bytes.length > HEADER_BYTES + MOST_CHARACTERS ? `${text}…` : text === '' ? '(no body)' : text;
}
