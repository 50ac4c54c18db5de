import { BaseRpcContext } from '@nestjs/microservices';
import type { Metadata } from '../protocol/guards.js';
import type { Caller, ClientConnection } from '../server/client-connection.js';
import type { IncomingCall } from '../calls/incoming-call.js';

type ContextArgs = [
  connection: ClientConnection,
  pattern: string,
  metadata: Metadata | undefined,
  call: IncomingCall<Caller>,
];

/** What `@Ctx()` gives: who calls, what for, and whether anybody still waits for the answer. */
export class UnixSocketContext extends BaseRpcContext<ContextArgs> {
  /** The client's connection: its id, and pushes to it alone. */
  getConnection(): ClientConnection {
    return this.args[0];
  }

  getPattern(): string {
    return this.args[1];
  }

  /** What the caller sent beside the payload. */
  getMetadata(): Metadata | undefined {
    return this.args[2];
  }

  /** The request's id as the caller wrote it; a string from every sane peer. */
  getRequestId(): unknown {
    return this.args[3].message.id;
  }

  /** Fires when nobody waits for the answer any more: unsubscribed, timed out, disconnected, shut down. */
  get signal(): AbortSignal {
    return this.args[3].signal;
  }
}
