import { BaseRpcContext } from '@nestjs/microservices';
import type { CallChannel } from '../calls/call-channel.js';
import type { IncomingCall } from '../calls/incoming-call.js';
import type { Metadata } from '../protocol/guards.js';

type ContextArgs<Origin, C extends CallChannel> = [
  origin: Origin,
  pattern: string,
  metadata: Metadata | undefined,
  call: IncomingCall<C>,
];

/** What the contexts of calls have in common, whichever end answers. */
export abstract class CallContext<Origin, C extends CallChannel> extends BaseRpcContext<
  ContextArgs<Origin, C>
> {
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

  /** Fires when nobody waits for the answer any more: cancelled, timed out, disconnected, shut down. */
  get signal(): AbortSignal {
    return this.args[3].signal;
  }
}
