import { Payload } from '@nestjs/microservices';
import type { PushSubscriptionOptions } from '../../options/push-options.js';
import { PARAM_METADATA } from '../unix-socket.constants.js';
import { addBinding, type ClientName } from './handler-metadata.js';

/** Of which client, and how its pushes wait while the handler is busy. */
export interface OnPushOptions extends PushSubscriptionOptions {
  /** The client's name. May be left out if the app has one client. */
  readonly client?: ClientName | undefined;
}

/**
 * Handles the pushes of one type, or of an object pattern, on any provider or controller of the client's app; one after
 * the other, with pipes, guards, interceptors and filters as for an `@EventPattern`. Needs `UnixSocketModule`.
 * @throws InvalidHandlerError, InvalidOptionError when the app starts
 * @example
 * \@OnPush('price', { client: 'desk', overflow: 'latest' }) onPrice(@Payload() price: Price): void { … }
 */
export function OnPush(pattern: string | object, options: OnPushOptions = {}): MethodDecorator {
  return (target, key, descriptor) => {
    // As with RPC handlers, the payload is what a method without decorated parameters gets, through its pipes.
    if (!Reflect.hasMetadata(PARAM_METADATA, target.constructor, key)) Payload()(target, key, 0);
    const { client, ...subscription } = options;
    addBinding(target, descriptor.value as object, { kind: 'push', pattern, client, options: subscription });
  };
}
