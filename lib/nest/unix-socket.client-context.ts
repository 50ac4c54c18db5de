import type { CallChannel } from '../calls/call-channel.js';
import { CallContext } from './call-context.js';
import type { UnixSocketClientProxy } from './unix-socket.client.js';

/** What `@Ctx()` gives a handler that a server has called: over which client, what for, and whether it still waits. */
export class UnixSocketClientContext extends CallContext<UnixSocketClientProxy, CallChannel> {
  /** The client that the call came over: to call the server back, for one. */
  getClient(): UnixSocketClientProxy {
    return this.args[0];
  }
}
