import type { IncomingCall } from '../calls/incoming-call.js';
import { Deadlines } from '../connection/deadlines.js';
import { ConnectionLostError } from '../errors/connection.errors.js';
import type { Caller } from './client-connection.js';
import { SharedCall, type SharedCallOwner } from './shared-call.js';

export interface DeduplicationLimits {
  /** How long an answer is kept, and how long a call runs on that nobody waits for. Milliseconds. */
  readonly windowMs: number;
  /** Calls remembered. Beyond, the oldest finished ones are forgotten. */
  readonly maxEntries: number;
  /** Bytes of answers kept. Beyond, likewise. */
  readonly maxBytes: number;
}

/**
 * Keeps a call from running twice when its client sends it again after a loss: a duplicate of a running call joins
 * it, of a finished one gets the stored answer. Calls are known by their whole id, which is random for each client.
 */
export class Deduplicator implements SharedCallOwner {
  private readonly running = new Map<string, SharedCall>();
  /** Those that finished first stand first. */
  private readonly finished = new Map<string, SharedCall>();
  private readonly deadlines = new Deadlines();
  private keptBytes = 0;

  constructor(private readonly limits: DeduplicationLimits) {}

  /** True if the call is known already: `caller` gets its answer, stored or once it is there. */
  join(id: string, caller: Caller): boolean {
    const running = this.running.get(id);
    if (running !== undefined) {
      if (running.attach(caller)) this.deadlines.remove(running);
      return true;
    }
    const finished = this.finished.get(id);
    finished?.replay(caller);
    return finished !== undefined;
  }

  /** Remembers a new call, unless too many are running to remember one more. */
  begin(id: string, call: IncomingCall<Caller>, caller: Caller): void {
    this.makeRoom(1);
    if (this.running.size + this.finished.size >= this.limits.maxEntries) return;
    const shared = new SharedCall(id, call, caller, this);
    call.shared = shared;
    this.running.set(id, shared);
  }

  /** The running call that `caller` waits for. */
  find(id: unknown, caller: Caller): IncomingCall<Caller> | undefined {
    const shared = this.running.get(id as string);
    return shared?.isAwaitedBy(caller) === true ? shared.call : undefined;
  }

  /** `caller` does not wait any more. False if it did not wait for a call that is remembered. */
  cancel(id: unknown, caller: Caller, reason: Error): boolean {
    const shared = this.running.get(id as string);
    if (shared?.detach(caller) !== true) return false;
    if (!shared.isWanted) shared.call?.cancel(reason);
    return true;
  }

  /** The connection has gone. Calls that ran for it alone go on for a while: its client may come back. */
  leave(caller: Caller, reason: Error): void {
    for (const shared of this.running.values()) {
      if (!shared.detach(caller) || shared.isWanted) continue;
      if (shared.call?.state === 'queued') shared.call.cancel(reason);
      else this.deadlines.add(shared, this.limits.windowMs, performance.now());
    }
  }

  onCallSettled(call: IncomingCall<Caller>): void {
    const { shared } = call;
    if (!(shared instanceof SharedCall)) return;
    this.deadlines.remove(shared);
    this.running.delete(shared.callId);
    shared.finish();
    if (call.isCancelled || call.isRefused) {
      this.keptBytes -= shared.keptBytes;
      return;
    }
    this.finished.set(shared.callId, shared);
    this.deadlines.add(shared, this.limits.windowMs, performance.now());
    this.makeRoom(0);
  }

  onKept(bytes: number): void {
    this.keptBytes += bytes;
    this.makeRoom(0);
  }

  onExpired(shared: SharedCall): void {
    if (shared.call === undefined) this.forget(shared);
    else shared.call.cancel(new ConnectionLostError('the client'));
  }

  /** Forgets every answer. */
  close(): void {
    for (const shared of this.finished.values()) this.forget(shared);
    this.deadlines.close();
  }

  private makeRoom(wanted: number): void {
    const { maxEntries, maxBytes } = this.limits;
    for (const shared of this.finished.values()) {
      if (this.running.size + this.finished.size + wanted <= maxEntries && this.keptBytes <= maxBytes) return;
      this.forget(shared);
    }
  }

  private forget(shared: SharedCall): void {
    this.finished.delete(shared.callId);
    this.keptBytes -= shared.keptBytes;
    this.deadlines.remove(shared);
  }
}
