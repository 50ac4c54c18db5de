/** Names this transport in `@MessagePattern(pattern, UNIX_SOCKET_TRANSPORT)` and in hooks. */
export const UNIX_SOCKET_TRANSPORT = Symbol.for('nestjs-unix-socket');

/**
 * Names the handlers of a client in `@MessagePattern(pattern, transport)` and in hooks: those that a server calls.
 * @param name of the client, if it has one
 */
export function getUnixSocketClientTransport(name = ''): symbol {
  return Symbol.for(`nestjs-unix-socket/client/${name}`);
}

/** What Nest answers for an error that is no `RpcException`; used where an error never passed Nest's filters. */
export const INTERNAL_ERROR = 'Internal server error';

/** Where Nest keeps what decorates the parameters of a handler; its constant is not exported. */
export const PARAM_METADATA = '__routeArguments__';
