import { EventEmitter } from 'node:events';
import type { Server as NetServer } from 'node:net';
import { Logger } from '@nestjs/common';
import { Observable, type Observer } from 'rxjs';
import type { ClientRequestOptions } from '../calls/request.js';
import type { Metadata } from '../protocol/guards.js';
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
import { CallStrategy, type PacketOptions } from './call-strategy.js';
import { UNIX_SOCKET_TRANSPORT } from './unix-socket.constants.js';
import { UnixSocketContext } from './unix-socket.context.js';
import { UnixSocketServerStatus, type UnixSocketServerEvents } from './unix-socket.events.js';

/** Options of {@link UnixSocketServer}: where it listens, its limits, and Nest's serializers. */
export interface UnixSocketServerOptions extends SocketServerOptions, PacketOptions {}

/**
 * Nest's strategy for this transport: controllers answer what clients ask over a Unix socket or TCP.
 * @example
 * app.connectMicroservice({ strategy: new UnixSocketServer({ path: '/run/app/app.sock' }) });
 */
export class UnixSocketServer extends CallStrategy<Caller, UnixSocketServerEvents, UnixSocketServerStatus> {
  override transportId: symbol = UNIX_SOCKET_TRANSPORT;
  protected override readonly logger = new Logger(UnixSocketServer.name);

  private readonly core: SocketServer;
  private readonly emitter = new EventEmitter();
  private closing: Promise<ServerCloseReport> | undefined;

  /** @throws InvalidOptionError, PathTooLongError */
  constructor(options: UnixSocketServerOptions) {
    super(options ?? {});
    this.core = new SocketServer(options, {
      onCall: (call) => this.dispatch(call),
      onConnect: (connection) => {
        this.logger.debug(`Client ${connection.id} connected`);
        this.emitter.emit('connect', connection);
      },
      onDisconnect: (connection, cause) => this.onDisconnect(connection, cause),
      onCallable: (connection) => void this.emitter.emit('callable', connection),
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

  /**
   * Calls a handler of one client; each subscription makes one call, and unsubscribing cancels it. As `request` of a
   * connection, with every value of a stream, and with object patterns.
   */
  stream<T = unknown>(
    connection: ClientConnection,
    pattern: string | object,
    data: unknown,
    options?: Omit<ClientRequestOptions, 'signal'>,
  ): Observable<T> {
    const type = typeof pattern === 'string' ? pattern : this.normalizePattern(pattern as never);
    return new Observable((subscriber) => {
      try {
        return connection.stream(type, data, subscriber as Observer<unknown>, options);
      } catch (error) {
        subscriber.error(error);
        return undefined;
      }
    });
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

  protected contextOf(
    call: IncomingCall<Caller>,
    pattern: string,
    meta: Metadata | undefined,
  ): UnixSocketContext {
    return new UnixSocketContext([call.connection, pattern, meta, call]);
  }
}
