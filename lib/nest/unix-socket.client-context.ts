import { BaseRpcContext } from '@nestjs/microservices';
import type { CallChannel } from '../calls/call-channel.js';
import type { IncomingCall } from '../calls/incoming-call.js';
import type { Metadata } from '../protocol/guards.js';
import type { UnixSocketClientProxy } from './unix-socket.client.js';

type ContextArgs = [
  client: UnixSocketClientProxy,
  pattern: string,
  metadata: Metadata | undefined,
  call: IncomingCall<CallChannel>,
];

/** What `@Ctx()` gives a handler that a server has called: over which client, what for, and whether it still waits. */
export class UnixSocketClientContext extends BaseRpcContext<ContextArgs> {
  /** The client that the call came over: to call the server back, for one. */
  getClient(): UnixSocketClientProxy {
    return this.args[0];
  }

  getPattern(): string {
    return this.args[1];
  }

  /** What the caller sent beside the payload. */
  getMetadata(): Metadata | undefined {
    return this.args[2];
  }

  /** The request's id as the server wrote it. */
  getRequestId(): unknown {
    return this.args[3].message.id;
  }

  /** Fires when nobody waits for the answer any more: cancelled, timed out, disconnected, shut down. */
  get signal(): AbortSignal {
    return this.args[3].signal;
  }
}
