import { inspect } from 'node:util';
import { RpcException } from '@nestjs/microservices';
import type { CallFailure } from '../calls/incoming-call.js';
import { INTERNAL_ERROR } from './unix-socket.constants.js';

/**
 * What a Nest handler's Observable errored with, as it goes to the caller: the whole for our own clients, a text
 * for plain ones. Nest's filters have already decided what the caller may see.
 */
export function failureFromPayload(payload: unknown): CallFailure {
  if (typeof payload !== 'object' || payload === null) {
    return { message: payload === undefined ? INTERNAL_ERROR : inspectText(payload), payload };
  }
  const { message, code, details } = payload as { message?: unknown; code?: unknown; details?: unknown };
  return {
    message: typeof message === 'string' ? message : textOf(payload),
    code: typeof code === 'string' ? code : undefined,
    details,
    payload,
  };
}

/** What Nest's RPC handlers answer for an error that no filter took. */
export function payloadOf(error: unknown): unknown {
  const status = 'error';
  if (!(error instanceof RpcException)) return { status, message: INTERNAL_ERROR };
  const inner = error.getError();
  return typeof inner === 'object' ? inner : { status, message: inner };
}

function inspectText(payload: unknown): string {
  return typeof payload === 'string' ? payload : inspect(payload);
}

function textOf(payload: object): string {
  try {
    return JSON.stringify(payload);
  } catch {
    return inspect(payload, { depth: 1 });
  }
}
