import type { Connection } from '../connection/connection.js';
import { Heartbeat, type HeartbeatTarget } from '../connection/heartbeat.js';
import { RoundTrip } from '../connection/round-trip.js';
import { PeerSilentError } from '../errors/connection.errors.js';
import { FrameTimeoutError } from '../errors/protocol.errors.js';
import type { ResolvedLinkOptions } from '../options/client-options.js';
import { extra } from '../protocol/envelope.js';
import { readInteger } from '../protocol/guards.js';
import type { MessageBody } from '../protocol/message-body.js';

/** What the judgement of a server's silence needs of the session. */
export interface LiveSession {
  readonly label: string;
  readonly isUpgraded: boolean;
  silenceLimitMs(): number;
}

/** Beats to the server, answers its probes, and ends the connection when the server is silent or stuck. */
export class SessionLiveness implements HeartbeatTarget {
  private readonly heartbeat: Heartbeat;
  private readonly roundTrip = new RoundTrip();
  private waiters: (() => void)[] = [];

  constructor(
    private readonly session: LiveSession,
    private readonly connection: Connection,
    { heartbeat, frameTimeoutMs }: ResolvedLinkOptions,
  ) {
    const { enabled, intervalMs, timeoutMs } = heartbeat;
    this.heartbeat = new Heartbeat(this, {
      beatIntervalMs: enabled ? intervalMs : 0,
      silenceTimeoutMs: enabled ? timeoutMs : 0,
      frameTimeoutMs,
    });
  }

  get bytesReceived(): number {
    return this.connection.bytesReceived;
  }

  get hasPartialFrame(): boolean {
    return this.connection.hasPartialFrame;
  }

  /** Of the last probe, milliseconds; undefined before the first, and from plain servers. */
  get lastRoundTripMs(): number | undefined {
    return this.roundTrip.lastMs;
  }

  start(): void {
    this.heartbeat.start();
  }

  stop(): void {
    this.heartbeat.stop();
    this.waiters = [];
  }

  /** Sends a heartbeat. False if no answer comes in time. */
  check(timeoutMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), timeoutMs);
      this.waiters.push(() => {
        clearTimeout(timer);
        resolve(true);
      });
      this.connection.send(this.connection.dialect.ping(this.probe()));
    });
  }

  /** Asks an upgraded server to answer, so that the round trip is measured. */
  probe(): string {
    return this.session.isUpgraded ? extra('probe', this.roundTrip.start()) : '';
  }

  onHeartbeat(body: MessageBody): void {
    const { isUpgraded } = this.session;
    const probe = readInteger(body.probe);
    // Only a probe is answered: a client that answered plain heartbeats would beat with its server for ever.
    if (probe !== undefined && isUpgraded) this.sendBeat(extra('probe_ack', probe));
    this.roundTrip.finish(body.probe_ack);
    if (isUpgraded && body.probe_ack === undefined) return;
    const { waiters } = this;
    this.waiters = [];
    for (const onAnswer of waiters) onAnswer();
  }

  sendBeat(extras: string): void {
    const frame = this.connection.dialect.heartbeat(extras);
    if (frame !== undefined) this.connection.send(frame);
  }

  silenceLimitMs(): number {
    return this.session.silenceLimitMs();
  }

  beat(): void {
    this.sendBeat(this.probe());
  }

  onSilent(limitMs: number): void {
    this.connection.destroy(new PeerSilentError(this.session.label, limitMs));
  }

  onStuckFrame(limitMs: number): void {
    this.connection.destroy(new FrameTimeoutError(limitMs));
  }
}
