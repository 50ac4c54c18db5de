import { EventEmitter } from 'node:events';
import type { Server as NetServer } from 'node:net';
import { Logger } from '@nestjs/common';
import {
  Server,
  type ConsumerDeserializer,
  type ConsumerSerializer,
  type CustomTransportStrategy,
  type MessageHandler,
  type TcpOptions,
} from '@nestjs/microservices';
import type { Endpoint } from '../options/endpoint.js';
import { endpointLabel } from '../options/endpoint.js';
import type { SocketServerOptions } from '../options/server-options.js';
import type { Caller, ClientConnection, PushOptions, PushOutcome } from '../server/client-connection.js';
import type { ResumeAuthorizer } from '../server/kept-rooms.js';
import type { PushOperator, PushTarget } from '../server/push.js';
import type { SlowConsumerPolicy } from '../server/push-queue.js';
import type { IncomingCall } from '../calls/incoming-call.js';
import type { RequestHandlerFunction, RequestHandlerRegistry } from '../calls/request-handler-registry.js';
import type { ServerCloseReport, ServerStats } from '../server/server-reports.js';
import { SocketServer } from '../server/socket-server.js';
import { CallResponder, eventReplies, plainReplies, type ReplyWriter } from './call-responder.js';
import { serializedReplies } from './packet-replies.js';
import { UNIX_SOCKET_TRANSPORT } from './unix-socket.constants.js';
import { UnixSocketContext } from './unix-socket.context.js';
import { UnixSocketServerStatus, type UnixSocketServerEvents } from './unix-socket.events.js';

/** Options of {@link UnixSocketServer}: where it listens, its limits, and Nest's serializers. */
export interface UnixSocketServerOptions extends SocketServerOptions {
  /** Sees every reply as Nest's packet. Takes the slower path. */
  readonly serializer?: ConsumerSerializer | undefined;
  /** Sees every request and event as Nest's packet. Takes the slower path. */
  readonly deserializer?: ConsumerDeserializer | undefined;
}

/** Patterns without a handler that are logged; beyond, only counted. */
const LOGGED_UNKNOWN_EVENTS = 100;

/**
 * Nest's strategy for this transport: controllers answer what clients ask over a Unix socket or TCP.
 * @example
 * app.connectMicroservice({ strategy: new UnixSocketServer({ path: '/run/app/app.sock' }) });
 */
export class UnixSocketServer
  extends Server<UnixSocketServerEvents, UnixSocketServerStatus>
  implements CustomTransportStrategy
{
  override transportId: symbol = UNIX_SOCKET_TRANSPORT;
  protected override readonly logger = new Logger(UnixSocketServer.name);

  private readonly core: SocketServer;
  private readonly emitter = new EventEmitter();
  private readonly replies: ReplyWriter;
  private readonly hasDeserializer: boolean;
  private readonly idleStartHook: unknown;
  private closing: Promise<ServerCloseReport> | undefined;
  private readonly unknownEvents = new Set<string>();

  /** @throws InvalidOptionError, PathTooLongError */
  constructor(options: UnixSocketServerOptions) {
    super();
    // Nest's types list its own transports only.
    const { serializer, deserializer } = options ?? {};
    const packetOptions = { serializer, deserializer } as NonNullable<TcpOptions['options']>;
    this.initializeSerializer(packetOptions);
    this.initializeDeserializer(packetOptions);
    this.replies = serializer === undefined ? plainReplies : serializedReplies(this.serializer);
    this.hasDeserializer = deserializer !== undefined;
    this.idleStartHook = this.onProcessingStartHook;
    this.core = new SocketServer(options, {
      onCall: (call) => this.onCall(call),
      onConnect: (connection) => {
        this.logger.debug(`Client ${connection.id} connected`);
        this.emitter.emit('connect', connection);
      },
      onDisconnect: (connection, cause) => this.onDisconnect(connection, cause),
      onSlowConsumer: (connection) => {
        this.logger.warn(`Client ${connection.id} is slow to read its pushes`);
        this.emitter.emit('slowConsumer', connection);
      },
      onResumeFailed: (connection, error) =>
        this.logger.error(error, `Client ${connection.id} could not enter its rooms again`),
      onRefused: (reason) => {
        this.logger.warn(`Connection refused: ${reason}`);
        this.emitter.emit('refused', reason);
      },
      onTrouble: (error) => {
        this.logger.error(error);
        this._status$.next(UnixSocketServerStatus.Degraded);
        this.emitter.emit('trouble', error);
      },
      onTakenOver: () => {
        this.logger.log(`Another process has taken over ${this.label}; finishing what is in flight`);
        this.emitter.emit('takenOver');
        void this.close();
      },
      onPathRestored: () => {
        this.logger.warn(`The socket file ${this.label} had vanished and is back`);
      },
      onRecovered: () => this._status$.next(UnixSocketServerStatus.Listening),
    });
  }

  /** Where it listens; with the real port when 0 was asked for. */
  get endpoint(): Endpoint {
    return this.core.endpoint;
  }

  get connectionCount(): number {
    return this.core.connectionCount;
  }

  /** Functions that handle requests, beside Nest's controllers and before them. */
  get handlers(): RequestHandlerRegistry {
    return this.core.handlers;
  }

  /** Called by Nest. Errors reach Nest through `done`: AddressInUseError, ListenError, PathTooLongError. */
  listen(done: (error?: unknown) => void): void {
    this.core.listen().then(
      () => {
        this._status$.next(UnixSocketServerStatus.Listening);
        this.emitter.emit('listening');
        done();
      },
      (error: unknown) => done(error),
    );
  }

  /**
   * Gives up its address, tells clients to go elsewhere, lets running handlers finish within `drainTimeoutMs`,
   * cancels the rest, ends every connection. Called by Nest. Idempotent. Tells what did not finish.
   */
  close(): Promise<ServerCloseReport> {
    this.closing ??= this.core.close().then((report) => {
      if (report.cancelled > 0)
        this.logger.error(`Closed while ${report.cancelled} calls were running; they were cancelled`);
      this._status$.next(UnixSocketServerStatus.Closed);
      this.emitter.emit('close');
      return report;
    });
    return this.closing;
  }

  on<E extends keyof UnixSocketServerEvents>(event: E, listener: UnixSocketServerEvents[E]): this {
    this.emitter.on(event, listener);
    return this;
  }

  /** The `net.Server` underneath. */
  unwrap<T = NetServer>(): T {
    return this.core.netServer as T;
  }

  /**
   * Registers a function for a request type, also while running. It comes before a controller with the same
   * pattern; the last one wins. Its errors reach the caller with their own text.
   */
  handle(type: string, handler: RequestHandlerFunction<never>): this {
    this.core.handle(type, handler);
    return this;
  }

  /** Whether at least one client is connected. */
  isConnected(): boolean {
    return this.core.connectionCount > 0;
  }

  connections(): ClientConnection[] {
    return this.core.connections();
  }

  connection(id: string): ClientConnection | undefined {
    return this.core.connection(id);
  }

  /** Chooses whom to push to: rooms, connections, accounts, or by a function. */
  to(...targets: PushTarget[]): PushOperator {
    return this.core.to(...targets);
  }

  /** Everybody but these. */
  except(...targets: PushTarget[]): PushOperator {
    return this.core.except(...targets);
  }

  /** Sends to every client, encoded once. @throws EncodeError, FrameTooLargeError */
  push(type: string, data: unknown, options?: PushOptions): PushOutcome {
    return this.core.push(type, data, options);
  }

  /** How pushes to this room treat clients that are slow to read, unless a push says so itself. */
  setRoomPolicy(room: string, policy: SlowConsumerPolicy): this {
    this.core.setRoomPolicy(room, policy);
    return this;
  }

  /** Asks this function which of its rooms a client that has come back may enter again. Without one, all. */
  authorizeResume(authorize: ResumeAuthorizer): this {
    this.core.authorizeResume(authorize);
    return this;
  }

  getStats(): ServerStats {
    return this.core.getStats();
  }

  private get label(): string {
    return endpointLabel(this.core.endpoint);
  }

  private onDisconnect(connection: ClientConnection, cause: Error | undefined): void {
    if (cause === undefined) this.logger.debug(`Client ${connection.id} disconnected`);
    else this.logger.warn(`Client ${connection.id} disconnected: ${cause.message}`);
    this.emitter.emit('disconnect', connection, cause);
  }

  private onCall(call: IncomingCall<Caller>): boolean {
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
    call: IncomingCall<Caller>,
    handler: MessageHandler,
    pattern: string,
    data: unknown,
    meta: UnixSocketMetadata,
  ): void {
    const context = new UnixSocketContext([call.connection, pattern, meta, call]);
    if (this.onProcessingStartHook === this.idleStartHook && this.onProcessingEndHook === undefined) {
      this.execute(call, handler, data, context, undefined);
      return;
    }
    void this.runHooked(call, handler, data, context);
  }

  /** Between the hooks, as on other transports: the first may await the end of processing. Never rejects. */
  private async runHooked(
    call: IncomingCall<Caller>,
    handler: MessageHandler,
    data: unknown,
    context: UnixSocketContext,
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
  private runEndHook(context: UnixSocketContext): void {
    try {
      this.onProcessingEndHook?.(this.transportId, context);
    } catch (error) {
      this.onUnexpected(error);
    }
  }

  private execute(
    call: IncomingCall<Caller>,
    handler: MessageHandler,
    data: unknown,
    context: UnixSocketContext,
    onDone: (() => void) | undefined,
  ): void {
    const isEventHandler = handler.isEventHandler === true || call.message.kind === 'event';
    const replies = isEventHandler ? eventReplies : this.replies;
    const responder = new CallResponder(call, replies, this.onUnexpected, onDone);
    try {
      responder.settle(handler(data, context));
    } catch (error) {
      responder.settle(Promise.reject(error));
    }
  }

  /** The slower way: the deserializer sees Nest's packet and may change all of it. */
  private async onPacket(call: IncomingCall<Caller>, type: string): Promise<void> {
    const { isPacket, data, id, kind, meta } = call.message;
    try {
      const raw = isPacket
        ? data
        : { pattern: type, data, ...(kind === 'request' ? { id } : {}), ...(meta ? { metadata: meta } : {}) };
      const packet = (await this.deserializer.deserialize(raw)) as {
        pattern: unknown;
        data: unknown;
        metadata?: UnixSocketMetadata;
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

  private readonly onUnexpected = (error: unknown): void => {
    this.logger.error(error);
  };
}

type UnixSocketMetadata = Readonly<Record<string, string>> | undefined;
