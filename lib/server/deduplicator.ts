import { Deadlines, type DeadlineLane, type Expiring } from '../connection/deadlines.js';
import { ConnectionLostError } from '../errors/connection.errors.js';
import { encodeFailure } from '../protocol/envelope.js';
import type { Frame } from '../protocol/frame-writer.js';
import { MessageType } from '../protocol/message-body.js';
import type { Caller, PushOptions, PushOutcome } from './client-connection.js';
import type { IncomingCall } from './incoming-call.js';

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
export class Deduplicator {
  private readonly calls = new Map<string, SharedCall>();
  private readonly deadlines = new Deadlines();
  private keptBytes = 0;

  constructor(private readonly limits: DeduplicationLimits) {}

  /** True if the call is known already: `caller` gets its answer, stored or once it is there. */
  join(id: string, caller: Caller): boolean {
    const shared = this.calls.get(id);
    if (shared === undefined) return false;
    if (!shared.isFinished) this.deadlines.remove(shared);
    shared.attach(caller);
    return true;
  }

  /** The caller to make a new call with; `caller` itself if too many calls are running to remember one more. */
  begin(id: string, caller: Caller): Caller {
    this.makeRoom(1);
    if (this.calls.size >= this.limits.maxEntries) return caller;
    const shared = new SharedCall(id, caller, (bytes) => {
      this.keptBytes += bytes;
      this.makeRoom(0);
    });
    this.calls.set(id, shared);
    return shared;
  }

  /** The connection of a running call has gone. True if the call goes on, for its client may come back. */
  detach(call: IncomingCall, caller: Caller): boolean {
    const { connection: shared } = call;
    if (!(shared instanceof SharedCall)) return false;
    shared.detach(caller);
    if (!shared.isWanted) {
      shared.onExpiredDo(() => call.cancel(new ConnectionLostError(`client ${caller.id}`)));
      this.deadlines.remove(shared);
      this.deadlines.add(shared, this.limits.windowMs, performance.now());
    }
    return true;
  }

  onCallSettled(call: IncomingCall): void {
    const { connection: shared } = call;
    if (!(shared instanceof SharedCall)) return;
    this.deadlines.remove(shared);
    if (call.isCancelled) {
      this.forget(shared);
      return;
    }
    shared.isFinished = true;
    // To the end of the map, so that those finished first stand first.
    this.calls.delete(shared.callId);
    this.calls.set(shared.callId, shared);
    shared.onExpiredDo(() => this.forget(shared));
    this.deadlines.add(shared, this.limits.windowMs, performance.now());
  }

  /** Forgets every answer, and ends the calls that nobody waits for. */
  close(): void {
    for (const shared of this.calls.values()) {
      this.deadlines.remove(shared);
      if (!shared.isWanted) shared.onExpired();
    }
    this.calls.clear();
  }

  private makeRoom(wanted: number): void {
    for (const shared of this.calls.values()) {
      if (this.calls.size + wanted <= this.limits.maxEntries && this.keptBytes <= this.limits.maxBytes)
        return;
      if (shared.isFinished) this.forget(shared);
    }
  }

  private forget(shared: SharedCall): void {
    if (!this.calls.delete(shared.callId)) return;
    this.keptBytes -= shared.keptBytes;
    this.deadlines.remove(shared);
  }
}

/** Above this an answer is not kept; a duplicate then hears so, but still does not run. */
const LARGEST_KEPT_ANSWER_BYTES = 1024 * 1024;

/** Stands for the connection of one call, so that its answer reaches whoever asks for it, also again. */
class SharedCall implements Caller, Expiring {
  lane: DeadlineLane | undefined;
  previous: Expiring | undefined;
  following: Expiring | undefined;
  expiresAt = 0;
  isFinished = false;
  keptBytes = 0;
  readonly isUpgraded = true;

  private frames: Frame[] | undefined = [];
  private readonly callers = new Set<Caller>();
  private expire: () => void = () => undefined;

  constructor(
    readonly callId: string,
    private readonly first: Caller,
    private readonly onKept: (bytes: number) => void,
  ) {
    this.callers.add(first);
  }

  get id(): string {
    return this.current.id;
  }

  get protocolVersion(): 'v2' {
    return this.first.protocolVersion;
  }

  get clientName(): string | undefined {
    return this.first.clientName;
  }

  get connectedAt(): number {
    return this.current.connectedAt;
  }

  get isConnected(): boolean {
    return this.current.isConnected;
  }

  get maxFrameBytes(): number {
    return this.first.maxFrameBytes;
  }

  /** Whether anybody waits for the answer now. */
  get isWanted(): boolean {
    return this.callers.size > 0;
  }

  attach(caller: Caller): void {
    this.callers.add(caller);
    if (this.frames === undefined) {
      const text = 'The call has run; its answer was too large to be kept.';
      const detail = { code: 'ANSWER_NOT_KEPT', message: text };
      caller.sendFrame(encodeFailure(this.callId, text, detail, Infinity), MessageType.Response);
      return;
    }
    for (const frame of this.frames) caller.sendFrame(frame, MessageType.Response);
  }

  detach(caller: Caller): void {
    this.callers.delete(caller);
  }

  onExpiredDo(expire: () => void): void {
    this.expire = expire;
  }

  onExpired(): void {
    this.expire();
  }

  get accountId(): string | undefined {
    return this.first.accountId;
  }

  get rooms(): ReadonlySet<string> {
    return this.current.rooms;
  }

  join(...rooms: string[]): void {
    this.current.join(...rooms);
  }

  leave(...rooms: string[]): void {
    this.current.leave(...rooms);
  }

  push(type: string, data: unknown, options?: PushOptions): PushOutcome {
    return this.current.push(type, data, options);
  }

  close(reason?: string): void {
    this.current.close(reason);
  }

  noteError(code: string): void {
    this.first.noteError(code);
  }

  sendFrame(frame: Frame, type: MessageType): void {
    for (const caller of this.callers) caller.sendFrame(frame, type);
    if (this.frames === undefined) return;
    if (this.keptBytes + frame.length > LARGEST_KEPT_ANSWER_BYTES) {
      this.frames = undefined;
      this.onKept(-this.keptBytes);
      this.keptBytes = 0;
      return;
    }
    this.frames.push(frame);
    this.keptBytes += frame.length;
    this.onKept(frame.length);
  }

  /** The connection that asked last. */
  private get current(): Caller {
    return [...this.callers].at(-1) ?? this.first;
  }
}
