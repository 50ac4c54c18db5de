import { SendQueueFullError } from '../errors/connection.errors.js';
import type { Connection } from './connection.js';

/** A peer that leaves this much unread is sent no further answers, and nothing new is started for it. */
const HOLD_BACK_BYTES = 1024 * 1024;

/** Whether the peer leaves so much unread that it gets nothing more for now. */
export function isBackedUp(connection: Connection): boolean {
  return connection.isOpen && connection.queuedBytes > HOLD_BACK_BYTES;
}

/** Whether the peer leaves so much unread that it has to go; then it goes. */
export function cutIfOverfull(connection: Connection, maxSendQueueBytes: number): boolean {
  const { queuedBytes } = connection;
  if (queuedBytes <= maxSendQueueBytes) return false;
  connection.destroy(new SendQueueFullError(queuedBytes, maxSendQueueBytes));
  return true;
}
