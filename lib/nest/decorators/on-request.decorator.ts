import { MessagePattern } from '@nestjs/microservices';
import { getUnixSocketClientTransport } from '../unix-socket.constants.js';

export interface OnRequestOptions {
  /** The client's name, if it has one. */
  readonly client?: string | undefined;
}

/**
 * Handles a call of the server, in a controller of a client's app: `@MessagePattern` for the handlers of that client.
 * @example
 * \@OnRequest('job') work(@Payload() job: Job, @Signal() signal: AbortSignal) { … }
 */
export function OnRequest(pattern: string | object, { client }: OnRequestOptions = {}): MethodDecorator {
  return MessagePattern(pattern, getUnixSocketClientTransport(client));
}
