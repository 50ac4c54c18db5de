import { BaseRpcContext } from '@nestjs/microservices';
import type { ReceivedPush } from '../client/push-subscription.js';
import type { Metadata } from '../protocol/guards.js';
import type { UnixSocketClientProxy } from './unix-socket.client.js';

type PushContextArgs = [client: UnixSocketClientProxy, push: ReceivedPush, signal: AbortSignal];

/** What `@Ctx()` gives to an `@OnPush` handler. */
export class UnixSocketPushContext extends BaseRpcContext<PushContextArgs> {
  /** The client that received the push. */
  getClient(): UnixSocketClientProxy {
    return this.args[0];
  }

  /** The push's type as it came, also behind a wildcard. */
  getPattern(): string {
    return this.args[1].type;
  }

  /** What the server sent beside the payload. */
  getMetadata(): Metadata | undefined {
    return this.args[1].meta;
  }

  /** The push as it arrived. */
  getPush(): ReceivedPush {
    return this.args[1];
  }

  /** Fires when the app or the client is closed. */
  get signal(): AbortSignal {
    return this.args[2];
  }
}
