import { ErrorCounter, MessageCounter } from '../connection/stats.js';
import { MessageType } from '../protocol/message-body.js';
import type { ServerStats } from './server-reports.js';

/** What has been counted since the start. */
export type ServerCounts = Pick<
  ServerStats,
  | 'totalConnections'
  | 'refusedConnections'
  | 'messagesReceived'
  | 'messagesSent'
  | 'receivedByType'
  | 'sentByType'
  | 'pushesDropped'
  | 'slowConsumers'
  | 'failuresByCode'
  | 'errors'
  | 'errorsByCode'
>;

/** What a server counts while it runs. */
export class ServerCounters {
  totalConnections = 0;
  refusedConnections = 0;
  pushesDropped = 0;
  slowConsumers = 0;
  readonly errors = new ErrorCounter();
  /** Of calls to clients. */
  readonly callFailures = new ErrorCounter();
  private readonly received = new MessageCounter();
  private readonly sent = new MessageCounter();
  private messagesReceived = 0;
  private messagesSent = 0;

  onMessage(type: MessageType): void {
    this.messagesReceived++;
    this.received.add(type);
  }

  onSent(type: MessageType): void {
    if (type === MessageType.Response || type === MessageType.Push || type === MessageType.Request)
      this.messagesSent++;
    this.sent.add(type);
  }

  snapshot(): ServerCounts {
    return {
      totalConnections: this.totalConnections,
      refusedConnections: this.refusedConnections,
      messagesReceived: this.messagesReceived,
      messagesSent: this.messagesSent,
      receivedByType: this.received.snapshot(),
      sentByType: this.sent.snapshot(),
      pushesDropped: this.pushesDropped,
      slowConsumers: this.slowConsumers,
      failuresByCode: this.callFailures.snapshot(),
      errors: this.errors.total,
      errorsByCode: this.errors.snapshot(),
    };
  }
}
