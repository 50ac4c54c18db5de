import { ForbiddenException, type ArgumentsHost, type Type } from '@nestjs/common';
import { ExternalContextCreator, type ContextId } from '@nestjs/core';
import { RpcException } from '@nestjs/microservices';
import { isObservable, lastValueFrom } from 'rxjs';
import { HandlerFailure } from '../../calls/handler-failure.js';
import { failureFromPayload, payloadOf } from '../call-failure.js';
import { PARAM_METADATA } from '../unix-socket.constants.js';

/** Which method, and where Nest finds what belongs to it. */
export interface MethodPlace {
  readonly instance: object;
  readonly method: string;
  /** Of the module whose guards, pipes, interceptors and filters the class names. */
  readonly moduleKey: string;
  readonly contextId?: ContextId | undefined;
  readonly inquirerId?: string | undefined;
}

export type EnhancedMethod = (data: unknown, context: unknown) => Promise<unknown>;

/** Nest's numbers for `@Payload()` and `@Ctx()`. */
const PAYLOAD = 3;
const CONTEXT = 6;

const FORBIDDEN = 'Forbidden resource';

const rpcParams = {
  exchangeKeyForValue(type: number, property: unknown, args: unknown[]): unknown {
    const [data, context] = args as [Record<string, unknown> | undefined, unknown];
    if (type === CONTEXT) return context;
    if (type !== PAYLOAD) return null;
    return typeof property === 'string' && property !== '' ? data?.[property] : data;
  },
};

/** The parts of Nest's filters that are used. */
interface Filters {
  create(...args: unknown[]): { invokeCustomFilters(error: unknown, host: ArgumentsHost): unknown };
}

/**
 * A method with its pipes, guards, interceptors and filters, as if it were an RPC handler. Rejects with
 * {@link HandlerFailure} alone.
 * @param onUnhandled is told of an error that no filter took
 */
export function enhancedMethod(
  base: ExternalContextCreator,
  { instance, method, moduleKey, contextId, inquirerId }: MethodPlace,
  onUnhandled: (error: unknown) => void,
): EnhancedMethod {
  const unhandled = (error: unknown): never => {
    onUnhandled(error);
    throw new HandlerFailure(failureFromPayload(payloadOf(error)));
  };
  const callback = (instance as Record<string, (...args: unknown[]) => unknown>)[method];
  const run = rpcCreator(base, moduleKey, unhandled).create(
    instance as Type,
    callback as (...args: unknown[]) => unknown,
    method,
    PARAM_METADATA,
    rpcParams,
    contextId,
    inquirerId,
    { guards: true, interceptors: true, filters: true },
    'rpc',
  );
  return async (data, context) => {
    try {
      const result: unknown = await run(data, context);
      // Those of handlers and interceptors have been awaited, so this one is what a filter made of an error.
      if (isObservable(result)) return await lastValue(result).catch(failWith);
      return result;
    } catch (error) {
      if (error instanceof HandlerFailure) throw error;
      return unhandled(error); // thrown by a filter
    }
  };
}

function failWith(payload: unknown): never {
  throw new HandlerFailure(failureFromPayload(payload));
}

/**
 * Nest's creator of handlers for libraries, with what sets RPC handlers apart: it finds the enhancers of controllers, a
 * guard's refusal is an `RpcException`, an empty Observable is no error, and nothing unhandled is logged as if it were HTTP.
 */
function rpcCreator(
  base: ExternalContextCreator,
  moduleKey: string,
  onUnhandled: (error: unknown) => never,
): ExternalContextCreator {
  const { filtersContextCreator } = base as unknown as { filtersContextCreator: Filters };
  return Object.assign(Object.create(base) as ExternalContextCreator, {
    getContextModuleKey: () => moduleKey,
    createGuardsFn: (...args: Parameters<ExternalContextCreator['createGuardsFn']>) => {
      const activate = base.createGuardsFn(...args) as ((args: unknown[]) => Promise<void>) | null;
      return activate && ((values: unknown[]) => activate(values).catch(throwRefusal));
    },
    transformToResult: (result: unknown) =>
      isObservable(result) ? lastValue(result) : Promise.resolve(result),
    filtersContextCreator: {
      create: (...args: unknown[]) => {
        const filters = filtersContextCreator.create(...args);
        return {
          next: (error: unknown, host: ArgumentsHost) =>
            filters.invokeCustomFilters(error, host) ?? onUnhandled(error),
        };
      },
    },
  });
}

function lastValue(source: Parameters<typeof lastValueFrom>[0]): Promise<unknown> {
  return lastValueFrom(source, { defaultValue: undefined });
}

function throwRefusal(error: unknown): never {
  const isRefusal = error instanceof ForbiddenException && error.message === FORBIDDEN;
  throw isRefusal ? new RpcException(FORBIDDEN) : error;
}
