import type { DeadlineLane, Expiring } from '../connection/deadlines.js';
import type { Slotted } from '../connection/slots.js';
import { DeadlineExceededError, type RefusalCode } from '../errors/call.errors.js';
import type { UnixSocketError } from '../errors/unix-socket.error.js';
import { UNKNOWN_REQUEST_TYPE } from '../protocol/capabilities.js';
import { encodeFailure, encodeResponse } from '../protocol/envelope.js';
import type { Frame } from '../protocol/frame-writer.js';
import { encodeJson } from '../protocol/json-codec.js';
import { MessageType } from '../protocol/message-body.js';
import type { CallAudience, CallChannel } from './call-channel.js';
import type { IncomingMessage } from './incoming-message.js';

/** Why a call failed, as it goes to the caller. */
export interface CallFailure {
  /** Never goes out empty. */
  readonly message: string;
  readonly code?: string | undefined;
  readonly details?: unknown;
  /** The handler's error as a whole. */
  readonly payload?: unknown;
}

/** Hears of a call's end, whatever it was. */
export interface CallOwner<C extends CallChannel> {
  onCallSettled(call: IncomingCall<C>): void;
}

const MORE = ',"more":true';
const END = ',"end":true';
const PACKET = ',"packet":true';

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
  state: 'queued' | 'running' | 'settled' = 'queued';
  /** Owned by the queue: whether it stands there. */
  isWaiting = false;
  /** `performance.now()` when its handler started; 0 while queued. */
  startedAt = 0;
  /** Set if it may come more than once: then all who asked get the answer. */
  shared: CallAudience<C> | undefined;
  /** Whether it was answered without having been started. */
  isRefused = false;
  private controller: AbortController | undefined;
  private teardown: (() => void) | undefined;
  private cancelReason: Error | undefined;
  /** Towards a plain peer: the latest value of a stream, which is all it will get. */
  private heldValue: unknown = null;

  constructor(
    private readonly caller: C,
    readonly message: IncomingMessage,
    private readonly owner: CallOwner<C>,
  ) {}

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
    if (this.isSettled) teardown();
    else this.teardown = teardown;
  }

  /** The whole answer. @param isPacket whether `value` is the output of a custom serializer */
  respond(value: unknown, isPacket = false): void {
    if (this.isSettled) return;
    this.answer(value, isPacket ? PACKET : '');
    this.settle();
  }

  /** One value of a stream. A plain peer gets the last one only, as `lastValueFrom` would give it. */
  next(value: unknown, isPacket = false): void {
    if (this.isSettled) return;
    if (this.caller.isUpgraded) this.answer(value, isPacket ? MORE + PACKET : MORE, true);
    else this.heldValue = value;
  }

  /** The end of a stream, or of a handler without a value. */
  complete(): void {
    if (this.isSettled) return;
    if (this.caller.isUpgraded) this.answer(null, END);
    else this.answer(this.heldValue, '');
    this.settle();
  }

  fail(failure: CallFailure): void {
    if (this.isSettled) return;
    this.transmit(() => this.encodeFailure(failure));
    this.end();
  }

  /** Nothing handles its type. The text is fixed by the protocol. */
  failUnknown(): void {
    this.fail({ message: UNKNOWN_REQUEST_TYPE, code: 'UNKNOWN_PATTERN' });
  }

  /** Not started, so repeating it is safe; an upgraded caller knows that from the refusal. */
  refuse(code: RefusalCode, text: string): void {
    if (this.isSettled) return;
    this.isRefused = true;
    this.transmit(() =>
      encodeFailure(this.message.id, text, { code, message: text, refused: true }, Infinity),
    );
    this.end();
  }

  onExpired(): void {
    const { type } = this.message;
    // The peer chose it; not everything can be made a string.
    this.cancel(new DeadlineExceededError(typeof type === 'string' ? type : 'unknown'));
  }

  /** Nobody waits any more: the handler is told, and nothing is sent. */
  cancel(reason: Error): void {
    if (this.isSettled) return;
    this.cancelReason = reason;
    // Settled first: whoever hears the signal may still have something to say, and nobody to say it to.
    this.settle();
    this.controller?.abort(reason);
    this.stop();
  }

  private answer(value: unknown, extras: string, isOneOfMany = false): void {
    this.transmit(
      () => encodeResponse(this.message.id, encodeJson(value), extras, this.caller.maxFrameBytes),
      isOneOfMany,
    );
  }

  /** What the error carries and cannot be sent is left out: its text says more than why it could not. */
  private encodeFailure({ message, code, details, payload }: CallFailure): Frame {
    const { id } = this.message;
    const { maxFrameBytes } = this.caller;
    try {
      return encodeFailure(id, message, { code, message, details, payload }, maxFrameBytes);
    } catch (error) {
      this.caller.noteError((error as UnixSocketError).code);
      return encodeFailure(id, message, { code, message }, maxFrameBytes);
    }
  }

  /** What cannot be encoded becomes an error response; the connection lives. */
  private transmit(encode: () => Frame, isOneOfMany = false): void {
    if (this.message.kind === 'event') return;
    let frame: Frame;
    try {
      frame = encode();
    } catch (error) {
      const { message, code } = error as UnixSocketError;
      this.caller.noteError(code);
      frame = encodeFailure(this.message.id, message, { code, message }, Infinity);
      (this.shared ?? this.caller).sendFrame(frame, MessageType.Response, false);
      this.end();
      return;
    }
    (this.shared ?? this.caller).sendFrame(frame, MessageType.Response, isOneOfMany);
  }

  private settle(): void {
    if (this.isSettled) return;
    this.state = 'settled';
    this.heldValue = null;
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
