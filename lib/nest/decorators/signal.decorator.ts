import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { UnixSocketContext } from '../unix-socket.context.js';

/**
 * The `AbortSignal` of the call a handler works for: fires when nobody waits for the answer any more. On another
 * transport than this one, a signal that never fires.
 * @example
 * \@MessagePattern('report') report(@Payload() query: Query, @Signal() signal: AbortSignal) { … }
 */
export const Signal = createParamDecorator((_data: unknown, context: ExecutionContext): AbortSignal => {
  const { signal } = context.switchToRpc().getContext<Partial<UnixSocketContext>>();
  return signal ?? new AbortController().signal;
});
