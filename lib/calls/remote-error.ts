import { RefusedError, RemoteError, type RefusalCode } from '../errors/call.errors.js';
import { UNKNOWN_REQUEST_TYPE } from '../protocol/capabilities.js';
import { readErrorDetail } from '../protocol/guards.js';
import type { MessageBody } from '../protocol/message-body.js';

const REFUSALS: ReadonlySet<unknown> = new Set<RefusalCode>(['OVERLOADED', 'DRAINING', 'DEADLINE_EXCEEDED']);

/** The error of a failed response: a refusal before the start, or the handler's own. */
export function remoteError(body: MessageBody): RefusedError | RemoteError {
  const text = typeof body.error === 'string' ? body.error : JSON.stringify(body.error);
  const { code, details, payload, isRefusal } = readErrorDetail(body.error_detail);
  if (isRefusal && REFUSALS.has(code)) return new RefusedError(code as RefusalCode, text);
  return new RemoteError({
    message: text,
    code: code ?? (text === UNKNOWN_REQUEST_TYPE ? 'UNKNOWN_PATTERN' : undefined),
    details,
    payload,
  });
}
