import { addBinding, type ClientName, type ConnectionBinding } from './handler-metadata.js';

/** Whose connections. May be left out if the app has just one server or client. */
export interface OnConnectOptions {
  /** The name of a client of this app. */
  readonly client?: ClientName | undefined;
  /** The server of this app. */
  readonly server?: true | undefined;
}

/**
 * On a server's app: called with the `ClientConnection` of each client that connects. On a client's app: called with the
 * client each time it has connected. A hook, so enhancers do not run, on any singleton provider or controller.
 * @throws InvalidHandlerError when the app starts
 */
export function OnConnect(options: OnConnectOptions = {}): MethodDecorator {
  return hook('connect', options);
}

/**
 * Called once for each connection that ends, with the `ClientConnection` or the client, and with the error that ended
 * it; a server's is undefined after an ordinary end.
 * @throws InvalidHandlerError when the app starts
 */
export function OnDisconnect(options: OnConnectOptions = {}): MethodDecorator {
  return hook('disconnect', options);
}

function hook(kind: ConnectionBinding['kind'], { client, server }: OnConnectOptions): MethodDecorator {
  return (target, _key, descriptor) =>
    addBinding(target, descriptor.value as object, { kind, client, isServer: server === true });
}
