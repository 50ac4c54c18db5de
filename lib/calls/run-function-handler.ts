import type { RequestHandlerFunction } from './request-handler-registry.js';
import { HandlerFailure } from './handler-failure.js';
import type { CallFailure, IncomingCall } from './incoming-call.js';
import { isAsyncIterable, StreamPuller, type StreamSink } from './stream-puller.js';

/** Runs a plain function as the handler of `call`. Its error goes to the caller with its own text. */
export function runFunctionHandler(handler: RequestHandlerFunction, call: IncomingCall): void {
  const { type, data, meta } = call.message;
  const info = {
    type: String(type),
    meta,
    get signal() {
      return call.signal;
    },
  };
  // The executor turns a synchronous throw into a rejection too.
  new Promise((resolve) => resolve(handler(data, info))).then(
    (value) => answer(call, value),
    (error: unknown) => call.fail(failureOf(error)),
  );
}

function answer(call: IncomingCall, value: unknown): void {
  if (value === undefined) call.complete();
  else if (isAsyncIterable(value)) new StreamPuller(call, value, new FunctionStream(call)).start();
  else call.respond(value);
}

/** The values of a stream that a function returned. */
class FunctionStream implements StreamSink {
  constructor(private readonly call: IncomingCall) {}

  next(value: unknown): void {
    this.call.next(value);
  }

  complete(): void {
    this.call.complete();
  }

  error(error: unknown): void {
    this.call.fail(failureOf(error));
  }

  onStopped(): void {
    // The function's signal has told it.
  }
}

/** What a function threw, as it goes to the caller. */
export function failureOf(error: unknown): CallFailure {
  if (error instanceof HandlerFailure) return error.failure;
  if (!(error instanceof Error)) return { message: String(error) };
  const { message, name, code, details } = error as Error & { code?: unknown; details?: unknown };
  return {
    message: message === '' ? name : message,
    code: typeof code === 'string' ? code : undefined,
    details,
  };
}
