import type { DeadlineLane, Expiring } from '../connection/deadlines.js';
import type { Slotted } from '../connection/slots.js';
import { DeadlineExceededError, StreamOverflowError, type RefusalCode } from '../errors/call.errors.js';
import type { UnixSocketError } from '../errors/unix-socket.error.js';
import { END, MORE } from '../protocol/envelope.js';
import type { Frame } from '../protocol/frame-writer.js';
import { MessageType } from '../protocol/message-body.js';
import type { CallAudience, CallChannel } from './call-channel.js';
import type { IncomingMessage } from './incoming-message.js';
import { StreamCredit, type ValueStore } from './stream-credit.js';
import type { PausedStream, StreamFlow } from './stream-flow.js';

/** Why a call failed, as it goes to the caller. */
export interface CallFailure {
  /** Never goes out empty. */
  readonly message: string;
  readonly code?: string | undefined;
  readonly details?: unknown;
  /** The handler's error as a whole. */
  readonly payload?: unknown;
}

/** Decides when an answer leaves, and hears of a call's end, whatever it was. */
export interface CallOwner<C extends CallChannel> extends ValueStore {
  /** Whether an answer has to wait, because the caller leaves earlier ones unread. */
  readonly isHeldBack: boolean;
  /** The call has an answer that waits: {@link IncomingCall.release} it once the caller reads. */
  onAnswerWaits(call: IncomingCall<C>): void;
  onCallSettled(call: IncomingCall<C>): void;
}

const PACKET = ',"packet":true';
const MORE_PACKET = MORE + PACKET;

/**
 * One request or event on its way through the end that serves it: the only thing a handler answers through, and the only
 * thing that can be cancelled. An answer after the end is ignored, so nobody above needs to keep count.
 */
export class IncomingCall<C extends CallChannel = CallChannel> implements Expiring, Slotted {
  slot = -1;
  lane: DeadlineLane | undefined;
  previous: Expiring | undefined;
  following: Expiring | undefined;
  /** `performance.now()` at which its caller stops waiting; 0 for never. */
  expiresAt = 0;
  /** `answered`: its handler is through, and the caller has not yet read enough to be sent the answer. */
  state: 'queued' | 'running' | 'answered' | 'settled' = 'queued';
  /** Owned by the queue: whether it stands there. */
  isWaiting = false;
  /** `performance.now()` when its handler started; 0 while queued. */
  startedAt = 0;
  /** `performance.now()` when its answer began to wait; 0 if it did not. */
  answeredAt = 0;
  /** Set if it may come more than once: then all who asked get the answer. */
  shared: CallAudience<C> | undefined;
  /** Whether it was answered without having been started. */
  isRefused = false;
  private controller: AbortController | undefined;
  private teardown: (() => void) | undefined;
  private cancelReason: Error | undefined;
  /** Towards a plain peer: the latest value of a stream, which is all it will get. */
  private heldValue: unknown = null;
  /** Encodes the answer that waits. Not done before: the value may be shared by many calls, its bytes are not. */
  private unsent: (() => Frame) | undefined;
  /** Set if the caller says how many values of a stream it takes. */
  private readonly credit: StreamCredit | undefined;

  constructor(
    private readonly caller: C,
    readonly message: IncomingMessage,
    private readonly owner: CallOwner<C>,
  ) {
    const { credit } = message;
    this.credit = credit !== undefined && caller.isUpgraded ? new StreamCredit(credit, owner) : undefined;
  }

  /** Where it came from; the latest, if it came more than once. */
  get connection(): C {
    return this.shared?.latestCaller ?? this.caller;
  }

  get isSettled(): boolean {
    return this.state === 'settled';
  }

  /** Whether it ended without an answer, because nobody waits for one. */
  get isCancelled(): boolean {
    return this.cancelReason !== undefined;
  }

  /** Fires when nobody waits for the answer any more: cancelled, timed out, disconnected, shut down. */
  get signal(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController();
      if (this.cancelReason !== undefined) this.controller.abort(this.cancelReason);
    }
    return this.controller.signal;
  }

  /** `teardown` runs once if the call ends before its handler does; at once if it already has. */
  onTeardown(teardown: () => void): void {
    if (this.isAnswered) teardown();
    else this.teardown = teardown;
  }

  /** Whether a stream should make no more values for now. */
  get isStreamHeldBack(): boolean {
    return this.isAwaited && (this.credit?.isSpent === true || this.flow.isHeldBack);
  }

  /** Resumes `stream` when it may be that it is held back no longer. */
  pauseStream(stream: PausedStream): void {
    if (this.credit?.isSpent === true) this.credit.pause(stream);
    else this.flow.pauseStream(stream);
  }

  forgetStream(stream: PausedStream): void {
    this.flow.forgetStream(stream);
  }

  /** The whole answer. @param isPacket whether `value` is the output of a custom serializer */
  respond(value: unknown, isPacket = false): void {
    if (!this.isAnswered) this.conclude(value, isPacket ? PACKET : '');
  }

  /** One value of a stream. A plain peer gets the last one only, as `lastValueFrom` would give it. */
  next(value: unknown, isPacket = false): void {
    if (this.isAnswered) return;
    if (this.caller.isUpgraded) this.sendValue(value, isPacket ? MORE_PACKET : MORE, true);
    else this.heldValue = value;
  }

  /** The end of a stream, or of a handler without a value. */
  complete(): void {
    if (this.isAnswered) return;
    if (this.caller.isUpgraded) this.conclude(null, END);
    else this.conclude(this.heldValue, '');
  }

  fail(failure: CallFailure): void {
    if (this.isAnswered) return;
    this.concludeWith(() => this.encodeFailure(failure));
    this.stop();
  }

  /** Nothing handles its type. The text is fixed by the protocol. */
  failUnknown(): void {
    if (this.isAnswered) return;
    const { id, type } = this.message;
    this.concludeWith(() => this.caller.dialect.unknownType(id, type));
    this.stop();
  }

  /** Not started, so repeating it is safe; an upgraded caller knows that from the refusal. */
  refuse(code: RefusalCode, text: string): void {
    if (this.isAnswered) return;
    this.isRefused = true;
    const detail = { code, message: text, refused: true };
    if (this.isAwaited) this.send(this.caller.dialect.failure(this.message.id, text, detail, Infinity), true);
    this.end();
  }

  /** Sends the answer that waited for the caller to read. */
  release(): void {
    const { unsent } = this;
    if (unsent !== undefined) this.sendEncoded(unsent);
    if (this.state === 'answered') this.settle();
  }

  /** The caller takes so many more values. */
  addCredit(values: number): void {
    const { credit } = this;
    if (credit === undefined || this.isSettled) return;
    credit.add(values);
    if (credit.isWaiting) this.sendKept(credit);
    else credit.resume();
  }

  onExpired(): void {
    const { type } = this.message;
    // The peer chose it; not everything can be made a string.
    this.cancel(new DeadlineExceededError(typeof type === 'string' ? type : 'unknown'));
  }

  /** Nobody waits any more: the handler is told, and nothing is sent. */
  cancel(reason: Error): void {
    if (this.isSettled) return;
    const isHandled = this.isAnswered;
    this.cancelReason = reason;
    // Settled first: whoever hears the signal may still have something to say, and nobody to say it to.
    this.settle();
    if (isHandled) return;
    this.controller?.abort(reason);
    this.stop();
  }

  /** Whether nothing can be added to its answer any more. */
  private get isAnswered(): boolean {
    return this.state === 'answered' || this.state === 'settled';
  }

  private encode(value: unknown, extras: string): Frame {
    const { dialect, maxFrameBytes } = this.caller;
    return dialect.response(this.message.id, dialect.encode(value), extras, maxFrameBytes);
  }

  /** What the error carries and cannot be sent is left out: its text says more than why it could not. */
  private encodeFailure({ message, code, details, payload }: CallFailure): Frame {
    const { id } = this.message;
    const { dialect, maxFrameBytes } = this.caller;
    try {
      return dialect.failure(id, message, { code, message, details, payload }, maxFrameBytes);
    } catch (error) {
      this.caller.noteError((error as UnixSocketError).code);
      return dialect.failure(id, message, { code, message }, maxFrameBytes);
    }
  }

  private get flow(): StreamFlow {
    return this.shared ?? this.caller.flow;
  }

  /** Whether anybody is told how it went. */
  private get isAwaited(): boolean {
    return this.message.kind === 'request';
  }

  /** Whether its last frame has to wait until the caller has read what came before. */
  private get isHeldBack(): boolean {
    return this.isAwaited && (this.credit?.isWaiting === true || this.owner.isHeldBack);
  }

  private conclude(value: unknown, extras: string): void {
    if (this.isHeldBack) {
      this.holdBack(() => this.encode(value, extras));
      return;
    }
    this.sendValue(value, extras, false);
    this.settle();
  }

  private concludeWith(encode: () => Frame): void {
    if (this.isHeldBack) {
      this.holdBack(encode);
      return;
    }
    this.sendEncoded(encode);
    this.settle();
  }

  private holdBack(encode: () => Frame): void {
    this.state = 'answered';
    this.answeredAt = performance.now();
    this.heldValue = null;
    this.unsent = encode;
    // Of the values before it nobody but this caller knows when they leave.
    if (this.credit?.isWaiting !== true) this.owner.onAnswerWaits(this);
  }

  private sendValue(value: unknown, extras: string, isOneOfMany: boolean): void {
    if (!this.isAwaited) return;
    let frame: Frame;
    try {
      frame = this.encode(value, extras);
    } catch (error) {
      this.failAtOnce(error as UnixSocketError);
      return;
    }
    if (!isOneOfMany || this.credit === undefined || this.credit.spend()) this.send(frame, isOneOfMany);
    // Only an Observable, which cannot be paused, has a value when its caller takes none.
    else if (!this.credit.keep(frame)) this.overflow();
  }

  private overflow(): void {
    const limit = `${this.owner.maxReservedBytes} bytes of values for one connection`;
    this.failAtOnce(new StreamOverflowError(String(this.message.type), limit));
  }

  private sendKept(credit: StreamCredit): void {
    for (let frame = credit.take(); frame !== undefined; frame = credit.take()) this.send(frame, true);
    if (this.state !== 'answered' || credit.isWaiting) return;
    if (this.owner.isHeldBack) this.owner.onAnswerWaits(this);
    else this.release();
  }

  private sendEncoded(encode: () => Frame): void {
    if (!this.isAwaited) return;
    let frame: Frame;
    try {
      frame = encode();
    } catch (error) {
      this.failAtOnce(error as UnixSocketError);
      return;
    }
    this.send(frame, false);
  }

  private send(frame: Frame, isOneOfMany: boolean): void {
    (this.shared ?? this.caller).sendFrame(frame, MessageType.Response, isOneOfMany);
  }

  /** The error is all the caller still gets, whatever waits; the connection lives. */
  private failAtOnce({ message, code }: UnixSocketError): void {
    this.caller.noteError(code);
    this.send(this.caller.dialect.failure(this.message.id, message, { code, message }, Infinity), false);
    this.end();
  }

  private settle(): void {
    if (this.isSettled) return;
    this.state = 'settled';
    this.heldValue = null;
    this.unsent = undefined;
    this.credit?.drop();
    this.owner.onCallSettled(this);
  }

  /** Settles although the handler may still be at work, and stops it. */
  private end(): void {
    this.settle();
    this.stop();
  }

  private stop(): void {
    const { teardown } = this;
    this.teardown = undefined;
    teardown?.();
  }
}
