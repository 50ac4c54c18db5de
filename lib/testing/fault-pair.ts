import type { Socket } from 'node:net';
import { FaultControls } from './fault-controls.js';
import { FaultFlow, type FlowChances } from './fault-flow.js';
import { FaultTally, type FaultStats } from './fault-stats.js';
import type { FlowFaults, OneWay } from './faults.js';
import { resetSide, type Side } from './side.js';

export interface FaultPairEvents {
  /** Both sides are closed. */
  close: [];
}

/** One connection through the proxy: a client's socket and the one opened to the server for it. */
export class FaultPair extends FaultControls<FaultPairEvents> {
  /** Resolves when both sides are closed, whoever closed them. */
  readonly closed: Promise<void>;

  private readonly tally: FaultTally;
  private readonly flows: Readonly<Record<OneWay, FaultFlow>>;

  /** @internal */
  constructor(
    /** Counts the connections of the proxy, from 1. */
    readonly number: number,
    private readonly client: Side,
    private readonly server: Side,
    plan: Readonly<Record<OneWay, FlowFaults>>,
    tally: FaultTally,
    chances: Readonly<Record<OneWay, FlowChances>>,
  ) {
    super();
    this.tally = new FaultTally(tally);
    const close = (): void => void this.close();
    this.flows = {
      toServer: new FaultFlow('toServer', client.socket, server, close, this.tally, chances.toServer),
      toClient: new FaultFlow('toClient', server.socket, client, close, this.tally, chances.toClient),
    };
    this.closed = Promise.all([closeOf(client.socket), closeOf(server.socket)]).then(() => this.onClosed());
    this.impose(plan.toServer, ['toServer']);
    this.impose(plan.toClient, ['toClient']);
  }

  get stats(): FaultStats {
    return this.tally.snapshot();
  }

  halfClose(way: OneWay): void {
    this.flows[way].end();
  }

  reset(): void {
    if (this.isClosing) return;
    this.tally.addFault('reset');
    this.stop();
    resetSide(this.client);
    resetSide(this.server);
  }

  /** Closes both sides at once. What is held is lost. */
  close(): Promise<void> {
    this.stop();
    this.client.socket.destroy();
    this.server.socket.destroy();
    return this.closed;
  }

  /** @internal */
  impose(change: Partial<FlowFaults>, ways: readonly OneWay[]): void {
    for (const way of ways) this.flows[way].impose(change);
  }

  private get isClosing(): boolean {
    return this.client.socket.destroyed && this.server.socket.destroyed;
  }

  private stop(): void {
    this.flows.toServer.stop();
    this.flows.toClient.stop();
  }

  private onClosed(): void {
    this.stop();
    this.emit('close');
  }
}

function closeOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    // What went wrong is told by "close"; unheard, an error would end the process.
    socket.on('error', () => undefined);
    socket.once('close', () => resolve());
  });
}
