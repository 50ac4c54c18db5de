import { Inject, Injectable, Logger } from '@nestjs/common';
import { ContextIdFactory, ExternalContextCreator, ModuleRef } from '@nestjs/core';
import type { RequestContext } from '@nestjs/microservices';
import { HandlerFailure } from '../../calls/handler-failure.js';
import type { PushHandler } from '../../client/push-subscription.js';
import { failureFromPayload } from '../call-failure.js';
import type { UnixSocketClientProxy } from '../unix-socket.client.js';
import { UnixSocketPushContext } from '../unix-socket.push-context.js';
import { checkEnhancers, type DecoratedMethod } from './decorated-method.js';
import { enhancedMethod, type EnhancedMethod } from './enhanced-method.js';

/** What `@Inject(REQUEST)` gives while a push is handled, in the form it has for every RPC handler. */
class PushRequest implements RequestContext<unknown, UnixSocketPushContext> {
  constructor(
    readonly pattern: string,
    readonly data: unknown,
    readonly context: UnixSocketPushContext,
  ) {}

  getData(): unknown {
    return this.data;
  }

  getPattern(): string {
    return this.pattern;
  }

  getContext(): UnixSocketPushContext {
    return this.context;
  }
}

/** Makes handlers of pushes out of methods of providers and controllers. */
@Injectable()
export class PushHandlerFactory {
  private readonly logger = new Logger('UnixSocketPushHandler');

  constructor(@Inject(ExternalContextCreator) private readonly contexts: ExternalContextCreator) {}

  /** @throws InvalidHandlerError */
  create(method: DecoratedMethod, client: UnixSocketClientProxy, signal: AbortSignal): PushHandler {
    checkEnhancers(method);
    const onUnhandled = (error: unknown): void => this.logger.error(error, `${method.label} failed`);
    const run = method.isSingleton ? this.singleton(method, onUnhandled) : this.scoped(method, onUnhandled);
    return (data, push) => run(data, new UnixSocketPushContext([client, push, signal]));
  }

  private singleton(
    { wrapper, method }: DecoratedMethod,
    onUnhandled: (error: unknown) => void,
  ): EnhancedMethod {
    const { instance, host } = wrapper;
    return enhancedMethod(
      this.contexts,
      { instance: instance as object, method, moduleKey: host?.token ?? '' },
      onUnhandled,
    );
  }

  /** A new instance for each push. */
  private scoped(
    { wrapper, method }: DecoratedMethod,
    onUnhandled: (error: unknown) => void,
  ): (data: unknown, context: UnixSocketPushContext) => Promise<unknown> {
    const { host, token, id } = wrapper;
    const moduleRef = host?.providers.get(ModuleRef)?.instance as ModuleRef;
    const isDurable = wrapper.isDependencyTreeDurable();
    return async (data, context) => {
      const request = new PushRequest(context.getPattern(), data, context);
      const contextId = ContextIdFactory.getByRequest(request);
      const { payload } = contextId as { payload?: object };
      moduleRef.registerRequestByContextId(isDurable ? payload : Object.assign(request, payload), contextId);
      let instance: object;
      try {
        instance = await moduleRef.resolve<object>(token as never, contextId, { strict: true });
      } catch (error) {
        onUnhandled(error);
        throw new HandlerFailure(failureFromPayload(undefined));
      }
      const place = { instance, method, moduleKey: host?.token ?? '', contextId, inquirerId: id };
      return enhancedMethod(this.contexts, place, onUnhandled)(data, context);
    };
  }
}
