import { SendQueueFullError } from '../errors/connection.errors.js';
import type { Connection } from './connection.js';

/** A peer that leaves this much unread is sent no further answers, and nothing new is started for it. */
const HOLD_BACK_BYTES = 1024 * 1024;
/** Never held back with less unread: a socket tells that it has drained only if it was full, which may take that much. */
const FULL_SOCKET_BYTES = 128 * 1024;

/** Whether the peer leaves so much unread that it gets nothing more for now: before it would have to go. */
export function isBackedUp(connection: Connection, maxSendQueueBytes: number): boolean {
  if (!connection.isOpen) return false;
  const mostBytes = Math.min(HOLD_BACK_BYTES, Math.max(maxSendQueueBytes, FULL_SOCKET_BYTES));
  return connection.queuedBytes > mostBytes;
}

/** Whether the peer leaves so much unread that it has to go; then it goes. */
export function cutIfOverfull(connection: Connection, maxSendQueueBytes: number): boolean {
  const { queuedBytes } = connection;
  if (queuedBytes <= maxSendQueueBytes) return false;
  connection.destroy(new SendQueueFullError(queuedBytes, maxSendQueueBytes));
  return true;
}
