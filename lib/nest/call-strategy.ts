import {
  Server,
  type BaseRpcContext,
  type ConsumerDeserializer,
  type ConsumerSerializer,
  type CustomTransportStrategy,
  type MessageHandler,
  type TcpOptions,
} from '@nestjs/microservices';
import type { CallChannel } from '../calls/call-channel.js';
import type { IncomingCall } from '../calls/incoming-call.js';
import type { Metadata } from '../protocol/guards.js';
import { failureFromPayload } from './call-failure.js';
import { CallResponder, eventReplies, plainReplies, type ReplyWriter } from './call-responder.js';
import { serializedReplies } from './packet-replies.js';
import { INTERNAL_ERROR } from './unix-socket.constants.js';

/** Nest's serializers, for calls that arrive. */
export interface PacketOptions {
  /** Sees every reply as Nest's packet. Takes the slower path. */
  readonly serializer?: ConsumerSerializer | undefined;
  /** Sees every request and event as Nest's packet. Takes the slower path. */
  readonly deserializer?: ConsumerDeserializer | undefined;
}

/** Patterns without a handler that are logged; beyond, only counted. */
const LOGGED_UNKNOWN_EVENTS = 100;

/** Under this code failed handlers of events are counted. */
const EVENT_FAILED = 'EVENT_FAILED';

/**
 * The part of a strategy that runs Nest's handlers for calls that arrive, at either end of a connection.
 * @typeParam C where they come from
 */
export abstract class CallStrategy<
  C extends CallChannel,
  E extends Record<string, Function>,
  S extends string,
>
  extends Server<E, S>
  implements CustomTransportStrategy
{
  abstract override transportId: symbol;

  private readonly replies: ReplyWriter;
  private readonly eventReplies: ReplyWriter = {
    ...eventReplies,
    fail: (call, payload) => {
      this.noteFailedEvent(call, payload);
      eventReplies.fail(call, payload);
    },
  };
  private readonly hasDeserializer: boolean;
  private readonly idleStartHook: unknown;
  private readonly unknownEvents = new Set<string>();

  constructor({ serializer, deserializer }: PacketOptions) {
    super();
    // Nest's types list its own transports only.
    const packetOptions = { serializer, deserializer } as NonNullable<TcpOptions['options']>;
    this.initializeSerializer(packetOptions);
    this.initializeDeserializer(packetOptions);
    this.replies = serializer === undefined ? plainReplies : serializedReplies(this.serializer);
    this.hasDeserializer = deserializer !== undefined;
    this.idleStartHook = this.onProcessingStartHook;
    // Nest 12 would log a failed handler of an event besides.
    Object.assign(this, { propagatesEventHandlerErrors: true });
  }

  abstract override listen(done: (error?: unknown) => void): void;

  /** What the handler gets as its context. */
  protected abstract contextOf(
    call: IncomingCall<C>,
    pattern: string,
    meta: Metadata | undefined,
  ): BaseRpcContext;

  /** False: nothing handles it. */
  protected dispatch(call: IncomingCall<C>): boolean {
    const { type, isPacket } = call.message;
    if (typeof type !== 'string') return false;
    if (isPacket || this.hasDeserializer) {
      void this.onPacket(call, type);
      return true;
    }
    const handler = this.findHandler(type);
    if (handler === undefined) {
      if (call.message.kind === 'event') this.noteUnknownEvent(type);
      return false;
    }
    this.run(call, handler, type, call.message.data, call.message.meta);
    return true;
  }

  /**
   * Exact look-up first: parsing every string pattern, as `getHandlerByPattern` does, throws for most of them and
   * costs more than all the rest of a call.
   */
  private findHandler(type: string): MessageHandler | undefined {
    const handler = this.messageHandlers.get(type);
    if (handler !== undefined || !type.startsWith('{')) return handler;
    return this.getHandlerByPattern(type) ?? undefined;
  }

  private run(
    call: IncomingCall<C>,
    handler: MessageHandler,
    pattern: string,
    data: unknown,
    meta: Metadata | undefined,
  ): void {
    const context = this.contextOf(call, pattern, meta);
    if (this.onProcessingStartHook === this.idleStartHook && this.onProcessingEndHook === undefined) {
      this.execute(call, handler, data, context, undefined);
      return;
    }
    void this.runHooked(call, handler, data, context);
  }

  /** Between the hooks, as on other transports: the first may await the end of processing. Never rejects. */
  private async runHooked(
    call: IncomingCall<C>,
    handler: MessageHandler,
    data: unknown,
    context: BaseRpcContext,
  ): Promise<void> {
    let isStarted = false;
    const run = (): Promise<void> => {
      isStarted = true;
      return new Promise((resolve) => {
        this.execute(call, handler, data, context, () => {
          this.runEndHook(context);
          resolve();
        });
      });
    };
    try {
      // Typed as void; those that await the end return a promise.
      await (this.onProcessingStartHook(this.transportId, context, run) as unknown);
    } catch (error) {
      this.onUnexpected(error);
      // Once it runs, the handler answers.
      if (!isStarted) this.replies.fail(call, undefined);
    }
  }

  /** Called from within the end of a handler, which an error of the hook must not disturb. */
  private runEndHook(context: BaseRpcContext): void {
    try {
      this.onProcessingEndHook?.(this.transportId, context);
    } catch (error) {
      this.onUnexpected(error);
    }
  }

  private execute(
    call: IncomingCall<C>,
    handler: MessageHandler,
    data: unknown,
    context: BaseRpcContext,
    onDone: (() => void) | undefined,
  ): void {
    const isEventHandler = handler.isEventHandler === true || call.message.kind === 'event';
    const replies = isEventHandler ? this.eventReplies : this.replies;
    const responder = new CallResponder(call, replies, this.onUnexpected, onDone);
    try {
      responder.settle(handler(data, context));
    } catch (error) {
      responder.settle(Promise.reject(error));
    }
  }

  /** The slower way: the deserializer sees Nest's packet and may change all of it. */
  private async onPacket(call: IncomingCall<C>, type: string): Promise<void> {
    const { isPacket, data, id, kind, meta } = call.message;
    try {
      const raw = isPacket
        ? data
        : { pattern: type, data, ...(kind === 'request' ? { id } : {}), ...(meta ? { metadata: meta } : {}) };
      const packet = (await this.deserializer.deserialize(raw)) as {
        pattern: unknown;
        data: unknown;
        metadata?: Metadata | undefined;
      };
      const pattern =
        typeof packet.pattern === 'string' ? packet.pattern : this.normalizePattern(packet.pattern as never);
      const handler = this.findHandler(pattern);
      if (handler !== undefined) {
        this.run(call, handler, pattern, packet.data, packet.metadata ?? meta);
        return;
      }
      if (kind === 'event') this.noteUnknownEvent(pattern);
      call.failUnknown();
    } catch (error) {
      this.onUnexpected(error);
      this.replies.fail(call, undefined);
    }
  }

  private noteUnknownEvent(pattern: string): void {
    if (this.unknownEvents.has(pattern) || this.unknownEvents.size >= LOGGED_UNKNOWN_EVENTS) return;
    this.unknownEvents.add(pattern);
    this.logger.error(
      `No handler for the event ${JSON.stringify(pattern.slice(0, 200))}; it was dropped. Said once for each pattern.`,
    );
  }

  /** Seldom does anybody wait for an event, so its failure must not end unseen. */
  private noteFailedEvent(call: IncomingCall, payload: unknown): void {
    call.connection.noteError(EVENT_FAILED);
    const { message } = failureFromPayload(payload);
    // What is no RpcException has been logged by the filter that made it this.
    if (message === INTERNAL_ERROR) return;
    this.logger.error(`The handler of the event ${JSON.stringify(call.message.type)} failed: ${message}`);
  }

  private readonly onUnexpected = (error: unknown): void => {
    this.logger.error(error);
  };
}
