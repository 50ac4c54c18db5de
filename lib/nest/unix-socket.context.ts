import type { Caller, ClientConnection } from '../server/client-connection.js';
import { CallContext } from './call-context.js';

/** What `@Ctx()` gives: who calls, what for, and whether anybody still waits for the answer. */
export class UnixSocketContext extends CallContext<ClientConnection, Caller> {
  /** The client's connection: its id, and pushes to it alone. */
  getConnection(): ClientConnection {
    return this.args[0];
  }
}
