import type { Server } from 'node:net';
import type { Duplex } from 'node:stream';
import { CallRunner } from '../calls/call-runner.js';
import type { RequestHandlerFunction, RequestHandlerRegistry } from '../calls/request-handler-registry.js';
import { Deadlines } from '../connection/deadlines.js';
import { Progress } from '../connection/progress.js';
import { tell } from '../connection/tell.js';
import { ConnectionLostError, ServerClosedError } from '../errors/connection.errors.js';
import { UnixSocketError } from '../errors/unix-socket.error.js';
import type { Endpoint } from '../options/endpoint.js';
import {
  resolveServerOptions,
  type ResolvedServerOptions,
  type SocketServerOptions,
} from '../options/server-options.js';
import { ServerDialects } from '../protocol/dialects.js';
import { encodeNotice } from '../protocol/envelope.js';
import type { Caller, ClientConnection, PushOptions, PushOutcome } from './client-connection.js';
import { Deduplicator } from './deduplicator.js';
import { KeptRooms, type ResumeAuthorizer } from './kept-rooms.js';
import { Listener, type ListenerOwner } from './listener.js';
import { PathHandover } from './path-handover.js';
import { Peer, type PeerOwner } from './peer.js';
import { PeerRegistry } from './peer-registry.js';
import { PushOperator, type PushTarget } from './push.js';
import { PushEncoder } from './push-encoder.js';
import type { SlowConsumerPolicy } from './push-queue.js';
import { ServerCounters } from './server-counters.js';
import { SilentPeers } from './silent-peers.js';
import type { ServerCloseReport, ServerStats, SocketServerEvents } from './server-reports.js';

/**
 * A complete server without Nest: listens, greets, keeps the connections and runs handlers. `lib/nest` puts
 * controllers on top of it; a script may use it as it is.
 */
export class SocketServer implements PeerOwner, ListenerOwner {
  readonly options: ResolvedServerOptions;
  readonly callDeadlines = new Deadlines();
  readonly counters = new ServerCounters();
  readonly deduplicator: Deduplicator | undefined;
  readonly dialects: ServerDialects;
  readonly encoder: PushEncoder;
  readonly kept: KeptRooms;
  readonly peers = new PeerRegistry();
  readonly runner = new CallRunner<Caller>((call) => this.events.onCall?.(call) === true);
  readonly silentPeers: SilentPeers;

  private readonly listener: Listener;
  private readonly handover: PathHandover;
  private closing: Promise<ServerCloseReport> | undefined;
  /** Of closing: every connection that ends, and every last call that went on without one. */
  private readonly progress = new Progress();

  /** @throws InvalidOptionError, PathTooLongError */
  constructor(
    options: SocketServerOptions,
    private readonly events: SocketServerEvents = {},
  ) {
    this.options = resolveServerOptions(options);
    const { deduplication, resume } = this.options;
    this.deduplicator = deduplication.enabled ? new Deduplicator(deduplication) : undefined;
    this.kept = new KeptRooms(resume, (room) => this.peers.hasMembers(room));
    this.dialects = new ServerDialects(this.options);
    this.encoder = new PushEncoder(this.dialects, this.options.maxFrameBytes);
    this.silentPeers = new SilentPeers(this.options.maxSilentPeers);
    this.listener = new Listener(this.options, this);
    this.handover = new PathHandover(this.listener, {
      isWilling: () => this.options.takeOver && !this.isClosing,
      onTakenOver: () => {
        tell(() => this.events.onTakenOver?.());
        void this.close();
      },
    });
  }

  /** Where it listens; with the real port when 0 was asked for. */
  get endpoint(): Endpoint {
    return this.listener.endpoint;
  }

  get netServer(): Server {
    return this.listener.netServer;
  }

  get connectionCount(): number {
    return this.peers.size;
  }

  /** Functions that handle requests. */
  get handlers(): RequestHandlerRegistry {
    return this.runner.handlers;
  }

  get isClosing(): boolean {
    return this.closing !== undefined;
  }

  /** Resolves once it listens. @throws AddressInUseError, ListenError, PathTooLongError */
  listen(): Promise<void> {
    return this.listener.open();
  }

  /** Registers a function for a request type, also while running; the last one wins. */
  handle(type: string, handler: RequestHandlerFunction<never>): this {
    this.handlers.register(type, handler);
    return this;
  }

  connections(): ClientConnection[] {
    return [...this.peers.all()];
  }

  connection(id: string): ClientConnection | undefined {
    return this.peers.get(id);
  }

  /** Chooses whom to push to: rooms, connections, accounts, or by a function. */
  to(...targets: PushTarget[]): PushOperator {
    return new PushOperator(this, targets);
  }

  /** Everybody but these. */
  except(...targets: PushTarget[]): PushOperator {
    return new PushOperator(this, [], targets);
  }

  /** Sends to every client, encoded once. @throws EncodeError, FrameTooLargeError */
  push(type: string, data: unknown, options?: PushOptions): PushOutcome {
    return new PushOperator(this).push(type, data, options);
  }

  /**
   * How pushes to this room treat clients that are slow to read, unless a push says so itself.
   * @throws InvalidOptionError for `latest` in a room that is kept
   */
  setRoomPolicy(room: string, policy: SlowConsumerPolicy): this {
    if (this.kept.has(room)) this.kept.requireOrder(room, policy);
    this.peers.setPolicy(room, policy);
    return this;
  }

  /** Asks this function which of its rooms a client that has come back may enter again. Without one, all. */
  authorizeResume(authorize: ResumeAuthorizer): this {
    this.kept.authorize = authorize;
    return this;
  }

  /**
   * Gives up its address, tells upgraded clients to go elsewhere, lets running handlers finish within
   * `drainTimeoutMs`, cancels the rest, ends every connection. Idempotent.
   */
  close(): Promise<ServerCloseReport> {
    this.closing ??= this.shut();
    return this.closing;
  }

  getStats(): ServerStats {
    return Object.freeze({
      ...this.counters.snapshot(),
      ...this.peers.stats(),
      ...this.kept.stats(),
      handlerLatencyMs: this.runner.latency.summary(),
    });
  }

  onSocket(socket: Duplex): void {
    if (this.isClosing || this.peers.totalSize >= this.options.maxConnections) {
      this.refuse(socket);
      return;
    }
    this.counters.totalConnections++;
    const peer = new Peer(socket, this.peers.freeId(), this.options, this);
    this.peers.add(peer);
    tell(() => this.events.onConnect?.(peer));
  }

  onTrouble(error: Error): void {
    this.counters.errors.add(
      error instanceof UnixSocketError ? error.code : ((error as NodeJS.ErrnoException).code ?? 'UNKNOWN'),
    );
    tell(() => this.events.onTrouble?.(error));
  }

  onPathRestored(): void {
    tell(() => this.events.onPathRestored?.());
  }

  onRecovered(): void {
    tell(() => this.events.onRecovered?.());
  }

  onCallable(peer: Peer): void {
    tell(() => this.events.onCallable?.(peer));
  }

  onTakeOverAsked(peer: Peer): void {
    this.handover.onAsked(peer);
  }

  onClosed(peer: Peer, cause: Error | undefined): void {
    this.peers.remove(peer);
    if (cause instanceof UnixSocketError && !(cause instanceof ConnectionLostError))
      this.counters.errors.add(cause.code);
    tell(() => this.events.onDisconnect?.(peer, cause));
    this.progress.onStep?.();
    this.handover.onClosed(peer);
  }

  onIdle(peer: Peer): void {
    this.peers.release(peer);
    this.progress.onStep?.();
  }

  onSlowConsumer(peer: Peer): void {
    this.counters.slowConsumers++;
    tell(() => this.events.onSlowConsumer?.(peer));
  }

  onResumeFailed(peer: Peer, error: unknown): void {
    this.counters.errors.add('RESUME_FAILED');
    tell(() => this.events.onResumeFailed?.(peer, error));
  }

  private async shut(): Promise<ServerCloseReport> {
    await this.listener.close();
    for (const peer of this.peers.all()) peer.drain();
    const isEmpty = (): boolean => this.peers.totalSize === 0;
    await this.progress.until(isEmpty, this.options.drainTimeoutMs);
    const unfinished = [...this.peers.all()];
    const unanswered = unfinished.reduce((total, peer) => total + peer.pendingThere, 0);
    let cancelled = 0;
    for (const peer of this.peers.working()) cancelled += peer.abort(new ServerClosedError());
    await this.progress.until(isEmpty);
    this.deduplicator?.close();
    this.kept.close();
    this.runner.close();
    this.callDeadlines.close();
    return Object.freeze({ cancelled, unanswered, unfinishedConnections: unfinished.length });
  }

  private refuse(socket: Duplex): void {
    this.counters.refusedConnections++;
    const reason = this.isClosing
      ? 'the server is shutting down'
      : `it has its limit of ${this.options.maxConnections} connections`;
    const code = this.isClosing ? 'DRAINING' : 'TOO_MANY_CONNECTIONS';
    socket.on('error', () => socket.destroy());
    // Told in a form that plain clients ignore; then they see an ordinary close.
    socket.end(encodeNotice('', reason, { code }) as string, 'latin1', () => socket.destroy());
    tell(() => this.events.onRefused?.(reason));
  }
}
