import { Heartbeat, type HeartbeatTarget } from '../connection/heartbeat.js';

/**
 * A plain peer that has ended its side is written to this often, to find out whether it is still there. Over TCP the
 * first write after its death only brings the news, and the second one fails.
 */
const BEAT_INTERVAL_MS = 500;

/** What the watch needs of the peer that has ended its side. */
export interface HalfOpenPeer {
  /** Grows with every byte that the peer's side has taken: all it can still show. */
  readonly bytesTaken: number;
  /** Whether it leaves so much unread that it gets nothing more for now. */
  readonly isBackedUp: boolean;
  sendBeat(): void;
  onSilent(limitMs: number): void;
}

/** Finds out whether a peer that has ended its side, and waits for answers, is still there and reads them. */
export class HalfOpenWatch implements HeartbeatTarget {
  readonly hasPartialFrame = false;
  private readonly heartbeat: Heartbeat;

  /** @param silenceTimeoutMs how long it may leave unread what waits for it; 0 for ever */
  constructor(
    private readonly peer: HalfOpenPeer,
    private readonly silenceTimeoutMs: number,
  ) {
    this.heartbeat = new Heartbeat(this, {
      beatIntervalMs: BEAT_INTERVAL_MS,
      silenceTimeoutMs,
      frameTimeoutMs: 0,
    });
    this.heartbeat.start();
  }

  get bytesReceived(): number {
    return this.peer.bytesTaken;
  }

  silenceLimitMs(): number {
    return this.peer.isBackedUp ? this.silenceTimeoutMs : 0;
  }

  beat(): void {
    // What waits already tells as much.
    if (!this.peer.isBackedUp) this.peer.sendBeat();
  }

  onSilent(limitMs: number): void {
    this.peer.onSilent(limitMs);
  }

  onStuckFrame(): void {}

  stop(): void {
    this.heartbeat.stop();
  }
}
