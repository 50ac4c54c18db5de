import { RequestAbortedError } from '../errors/call.errors.js';
import { encodeJson } from '../protocol/json-codec.js';
import type { Link } from './link.js';
import type { CallOptions } from './pending-call.js';

export interface RequestOptions extends Pick<CallOptions, 'timeoutMs' | 'meta' | 'idempotent'> {
  /** Aborts the call; an upgraded server stops working for it. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * One request as a promise of its answer; of a stream, the last value. Undefined if the handler gave none.
 * @throws RemoteError, RequestTimeoutError, RequestAbortedError, ConnectionLostError, EncodeError and the other
 * errors of a call, each with its `delivery`
 */
export async function request(
  link: Link,
  type: string,
  data: unknown,
  options: RequestOptions = {},
): Promise<unknown> {
  const { signal } = options;
  if (signal?.aborted === true) throw new RequestAbortedError(type, 'notSent', signal.reason);
  const json = encodeJson(data);
  return new Promise((resolve, reject) => {
    let last: unknown;
    const onAbort = (): void => {
      const { delivery } = call;
      link.cancel(call);
      reject(new RequestAbortedError(type, delivery, signal?.reason));
    };
    const call = link.call(type, json, options, {
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
    if (!call.isSettled) signal?.addEventListener('abort', onAbort, { once: true });
  });
}
