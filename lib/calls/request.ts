import { EventEmitter, getMaxListeners, setMaxListeners } from 'node:events';
import { RequestAbortedError } from '../errors/call.errors.js';
import type { Payload } from '../protocol/payload.js';
import type { CallObserver, CallOptions, PendingCall } from './pending-call.js';

export interface RequestOptions extends Pick<CallOptions, 'timeoutMs' | 'meta' | 'idempotent'> {
  /** Aborts the call; an upgraded peer stops working for it. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of a call from a server to a client. */
export type ClientRequestOptions = Omit<RequestOptions, 'idempotent'>;

/** Whoever makes calls: a `Link`, or a server to one of its clients. */
export interface CallMaker {
  /** The data in the form in which it can be sent. @throws EncodeError */
  encode(data: unknown): Payload;
  call(type: string, payload: Payload, options: CallOptions, observer: CallObserver): PendingCall;
  /** The caller has gone: nothing more is reported. */
  cancel(call: PendingCall): void;
  /** So many more values of a stream may come, beside those of its {@link CallIntake}. */
  grant(call: PendingCall, values: number): void;
}

/**
 * One request as a promise of its answer; of a stream, the last value. Undefined if the handler gave none.
 * @throws RemoteError, RequestTimeoutError, RequestAbortedError, ConnectionLostError, EncodeError and the other
 * errors of a call, each with its `delivery`
 */
export async function request(
  link: CallMaker,
  type: string,
  data: unknown,
  options: RequestOptions = {},
): Promise<unknown> {
  return requestPayload(link, type, link.encode(data), options);
}

/** Keeps a promise: of more than one end, only the first counts. */
export interface AnswerTarget {
  next(value: unknown): void;
  error(error: unknown): void;
  complete(): void;
}

/**
 * As {@link request}, of data that is encoded already.
 * @param wrap puts something between the answer and the promise
 */
export async function requestPayload(
  link: CallMaker,
  type: string,
  payload: Payload,
  options: RequestOptions & CallOptions,
  wrap: (target: AnswerTarget) => CallObserver = (target) => target,
): Promise<unknown> {
  const { signal } = options;
  if (signal?.aborted === true) throw new RequestAbortedError(type, 'notSent', signal.reason);
  return new Promise((resolve, reject) => {
    let last: unknown;
    const onAbort = (): void => {
      const { delivery } = call;
      link.cancel(call);
      reject(new RequestAbortedError(type, delivery, signal?.reason));
    };
    const observer = wrap({
      next: (value) => {
        last = value;
      },
      error: (error) => {
        signal?.removeEventListener('abort', onAbort);
        reject(error);
      },
      complete: () => {
        signal?.removeEventListener('abort', onAbort);
        resolve(last);
      },
    });
    const call = link.call(type, payload, options, observer);
    if (!call.isSettled && signal !== undefined) listen(signal, onAbort);
  });
}

/** One signal may stand for many requests: more than the ten listeners from which on Node warns of a leak. */
export function listen(signal: AbortSignal, onAbort: () => void): void {
  // A limit that the application has set itself stays. Infinity, because Node takes 0 for no limit at all to be read.
  if (signal instanceof EventTarget && getMaxListeners(signal) === EventEmitter.defaultMaxListeners)
    setMaxListeners(Infinity, signal);
  signal.addEventListener('abort', onAbort, { once: true });
}
