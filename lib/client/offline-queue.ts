import type { PendingCall } from '../calls/pending-call.js';
import { NotConnectedError, OfflineQueueFullError } from '../errors/call.errors.js';
import type { UnixSocketError } from '../errors/unix-socket.error.js';
import type { ResolvedLinkOptions } from '../options/client-options.js';
import { payloadBytes } from '../protocol/payload.js';
import type { Session } from './session.js';

/** The calls that wait for a connection, in order, bounded in count and bytes; their time is bounded by themselves. */
export class OfflineQueue {
  /** With the size of each. */
  private readonly calls = new Map<PendingCall<Session>, number>();
  private bytes = 0;

  constructor(
    private readonly options: ResolvedLinkOptions,
    private readonly label: string,
  ) {}

  get size(): number {
    return this.calls.size;
  }

  /** Why one more call may not wait; undefined if it may. @param isResting between two attempts to connect */
  refusal(
    call: PendingCall<Session>,
    isResting: boolean,
    lastError: Error | undefined,
  ): UnixSocketError | undefined {
    const { offline, maxOfflineCalls, maxOfflineBytes } = this.options;
    if (offline === 'fail' && isResting) return new NotConnectedError(this.label, lastError);
    const maxCalls = typeof offline === 'object' ? Math.min(offline.queue, maxOfflineCalls) : maxOfflineCalls;
    if (this.calls.size >= maxCalls) return new OfflineQueueFullError(this.label, `${maxCalls} calls`);
    if (this.bytes + payloadBytes(call.payload) > maxOfflineBytes) {
      return new OfflineQueueFullError(this.label, `${maxOfflineBytes} bytes of calls`);
    }
    return undefined;
  }

  add(call: PendingCall<Session>): void {
    const bytes = payloadBytes(call.payload);
    this.calls.set(call, bytes);
    this.bytes += bytes;
  }

  remove(call: PendingCall<Session>): void {
    this.bytes -= this.calls.get(call) ?? 0;
    this.calls.delete(call);
  }

  /** In order; those that are added or removed meanwhile are there, or not. */
  [Symbol.iterator](): Iterator<PendingCall<Session>> {
    return this.calls.keys();
  }

  /** Empties it. */
  takeAll(): PendingCall<Session>[] {
    const calls = [...this];
    this.calls.clear();
    this.bytes = 0;
    return calls;
  }
}
