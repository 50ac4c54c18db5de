import type { Connection } from '../connection/connection.js';
import { Heartbeat, type HeartbeatTarget } from '../connection/heartbeat.js';
import { RoundTrip } from '../connection/round-trip.js';
import { PeerSilentError } from '../errors/connection.errors.js';
import { FrameTimeoutError } from '../errors/protocol.errors.js';
import type { ResolvedServerOptions } from '../options/server-options.js';
import { extra } from '../protocol/envelope.js';
import type { Frame } from '../protocol/frame-writer.js';
import { readInteger } from '../protocol/guards.js';
import { MessageType, type MessageBody } from '../protocol/message-body.js';
import { BeatLimiter } from './beat-limiter.js';
import { HalfOpenWatch, type HalfOpenPeer } from './half-open-watch.js';
import type { SilentPeers } from './silent-peers.js';

/** What the judgement of a peer's silence needs of it. */
export interface LivePeer {
  readonly id: string;
  readonly isUpgraded: boolean;
  readonly calls: {
    /** Whether it is not read from for now. */
    readonly isPaused: boolean;
  };
  /** Whether it leaves so much unread that it gets nothing more for now. */
  readonly isBackedUp: boolean;
  sendFrame(frame: Frame, type: MessageType): void;
  notify(code: string, text: string): void;
}

/** Beats to one peer, answers its beats, and ends it when it is silent, stuck, or gone after ending its side. */
export class PeerLiveness implements HeartbeatTarget, HalfOpenPeer {
  private readonly heartbeat: Heartbeat;
  private halfOpenWatch: HalfOpenWatch | undefined;
  private readonly beatLimiter = new BeatLimiter();
  private readonly roundTrip = new RoundTrip();

  constructor(
    private readonly peer: LivePeer,
    private readonly connection: Connection,
    private readonly options: ResolvedServerOptions,
    private readonly silentPeers: SilentPeers,
  ) {
    const { enabled, intervalMs, timeoutMs } = options.heartbeat;
    this.heartbeat = new Heartbeat(this, {
      beatIntervalMs: enabled ? intervalMs : 0,
      silenceTimeoutMs: enabled
        ? Math.min(timeoutMs || Infinity, options.silentPeerTimeoutMs || Infinity)
        : 0,
      frameTimeoutMs: options.frameTimeoutMs,
    });
    this.heartbeat.start();
  }

  get bytesReceived(): number {
    return this.connection.bytesReceived;
  }

  get bytesTaken(): number {
    return this.connection.bytesSent - this.connection.queuedBytes;
  }

  get isBackedUp(): boolean {
    return this.peer.isBackedUp;
  }

  get hasPartialFrame(): boolean {
    // While we do not read from it, the rest of the frame waits for us.
    return !this.peer.calls.isPaused && this.connection.hasPartialFrame;
  }

  /** Whether the peer has ended its side and waits for answers. */
  get isHalfOpen(): boolean {
    return this.halfOpenWatch !== undefined;
  }

  get roundTripMs(): number | undefined {
    return this.roundTrip.lastMs;
  }

  /** From now on only what it reads shows that it is there. */
  onHalfOpen(): void {
    this.heartbeat.stop();
    const { enabled, timeoutMs } = this.options.heartbeat;
    this.halfOpenWatch = new HalfOpenWatch(this, enabled ? timeoutMs : 0);
  }

  stop(): void {
    this.heartbeat.stop();
    this.silentPeers.release(this);
    this.halfOpenWatch?.stop();
  }

  /** Whether this heartbeat of the peer, which may answer one of ours, is to be answered. */
  admit(body: MessageBody): boolean {
    if (body.probe_ack !== undefined) {
      this.roundTrip.finish(body.probe_ack);
      return false;
    }
    // One that does not read its answers would pile them up.
    return this.beatLimiter.admit() && !this.peer.isBackedUp;
  }

  answer(body: MessageBody): void {
    this.sendBeat(extra('probe_ack', readInteger(body.probe)));
  }

  silenceLimitMs(): number {
    const { enabled, timeoutMs } = this.options.heartbeat;
    // While we do not read from it, its silence is our doing.
    if (this.peer.calls.isPaused || !enabled) return 0;
    const { version, hasHeartbeats } = this.connection.dialect;
    // A V1 client may listen for ever and never say a word.
    if (this.bytesReceived === 0 && version !== 'v2')
      return this.silentPeers.admit(this) ? this.options.silentPeerTimeoutMs : timeoutMs;
    this.silentPeers.release(this);
    return hasHeartbeats && version !== undefined ? timeoutMs : 0;
  }

  beat(): void {
    if (this.peer.isBackedUp) return;
    if (this.peer.isUpgraded) {
      this.sendBeat(extra('probe', this.roundTrip.start()));
    } else if (this.peer.calls.isPaused) {
      this.sendBeat();
    }
  }

  sendBeat(extras = ''): void {
    const frame = this.connection.dialect.heartbeat(extras);
    if (frame !== undefined) this.peer.sendFrame(frame, MessageType.Heartbeat);
  }

  onSilent(limitMs: number): void {
    if (this.bytesReceived === 0) this.peer.notify('SILENT', 'Nothing was received on this connection.');
    this.connection.destroy(new PeerSilentError(`client ${this.peer.id}`, limitMs));
  }

  onStuckFrame(limitMs: number): void {
    this.connection.destroy(new FrameTimeoutError(limitMs));
  }
}
