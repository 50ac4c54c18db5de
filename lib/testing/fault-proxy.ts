import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { ListenError } from '../errors/address.errors.js';
import { FaultControls } from './fault-controls.js';
import type { FlowChances } from './fault-flow.js';
import { FaultPair } from './fault-pair.js';
import { FaultTally, type FaultStats } from './fault-stats.js';
import { NO_FAULTS, wholeNumber, type Direction, type FlowFaults, type OneWay } from './faults.js';
import { seededRandom } from './seeded-random.js';

/** A Unix socket, or a TCP address. */
export type FaultProxyEndpoint = { readonly path: string } | { readonly host: string; readonly port: number };

/** As {@link FaultProxyEndpoint}; the host may be left out. @default host '127.0.0.1' */
export type FaultProxyAddress = { readonly path: string } | { readonly host?: string; readonly port: number };

export interface FaultProxyOptions {
  /** Where clients connect. It need not be of the same kind as the target. @default { port: 0 } */
  readonly listen?: FaultProxyAddress;
  /** Where the server is. It need not be there yet. */
  readonly target: FaultProxyAddress;
  /** Whatever chance decides is decided by this. @default drawn; see {@link FaultProxy.seed} */
  readonly seed?: number;
}

export interface FaultProxyEvents {
  /** A client connected and the server is being dialled. Faults imposed now see the first byte. */
  connection: [pair: FaultPair];
}

export interface FaultProxyStats extends FaultStats {
  /** Connections taken so far, refused ones not counted. */
  readonly connections: number;
  readonly liveConnections: number;
  /** Connections that ended because the server could not be reached. */
  readonly unreachable: number;
}

const DEFAULT_HOST = '127.0.0.1';
const MAX_SEED = 0xffff_ffff;

/**
 * Stands between clients and a server, passes everything on faithfully (back-pressure and half-closed
 * connections too), and injects faults on command. A fault holds for the live connections and for those to
 * come, for which it counts from their first byte; {@link connections} have the same methods for just one.
 *
 * @example
 * const proxy = await FaultProxy.listen({ target: { path: '/run/app.sock' } });
 * const client = new UnixSocketClientProxy(proxy.endpoint);
 * proxy.split(1); // every frame arrives byte by byte
 * proxy.reset(); // every connection is lost
 * await proxy.close();
 */
export class FaultProxy extends FaultControls<FaultProxyEvents> {
  private readonly tally = new FaultTally();
  private readonly pairs = new Set<FaultPair>();
  private readonly plan: Record<OneWay, FlowFaults> = { toServer: NO_FAULTS, toClient: NO_FAULTS };
  private connectionCount = 0;
  private unreachableCount = 0;
  private isRefusing = false;
  private closing: Promise<void> | undefined;

  private constructor(
    private readonly server: Server,
    /** What to hand to clients. */
    readonly endpoint: FaultProxyEndpoint,
    private readonly target: FaultProxyAddress,
    /** Print it when a test fails: the same seed draws the same jitter and the same bits again. */
    readonly seed: number,
  ) {
    super();
    server.on('connection', this.onConnection);
    // An accept that failed, for want of descriptors, is for the client to notice.
    server.on('error', () => undefined);
  }

  /** @throws ListenError, InvalidOptionError */
  static async listen(options: FaultProxyOptions): Promise<FaultProxy> {
    const { listen = { port: 0 }, target, seed = Math.floor(Math.random() * MAX_SEED) } = options;
    wholeNumber('seed', seed, 0, MAX_SEED);
    const server = createServer({ allowHalfOpen: true, noDelay: true });
    server.listen(withHost(listen));
    try {
      await once(server, 'listening');
    } catch (error) {
      throw new ListenError(label(listen), (error as Error).message, { cause: error });
    }
    return new FaultProxy(server, endpointOf(server), target, seed);
  }

  /** The live connections, oldest first. */
  get connections(): readonly FaultPair[] {
    return [...this.pairs];
  }

  get stats(): FaultProxyStats {
    return Object.freeze({
      connections: this.connectionCount,
      liveConnections: this.pairs.size,
      unreachable: this.unreachableCount,
      ...this.tally.snapshot(),
    });
  }

  halfClose(way: OneWay): void {
    for (const pair of this.pairs) pair.halfClose(way);
  }

  reset(): void {
    for (const pair of this.pairs) pair.reset();
  }

  /** New connections are closed at once, until {@link accept} or {@link clear}. */
  refuse(): void {
    this.isRefusing = true;
  }

  /** Undoes {@link refuse}. */
  accept(): void {
    this.isRefusing = false;
  }

  override clear(direction: Direction = 'both'): void {
    super.clear(direction);
    if (direction === 'both') this.accept();
  }

  /** Stops listening, closes every connection at once, and resolves when nothing is left. */
  close(): Promise<void> {
    this.closing ??= this.shutDown();
    return this.closing;
  }

  /** @internal */
  impose(change: Partial<FlowFaults>, ways: readonly OneWay[]): void {
    for (const way of ways) this.plan[way] = { ...this.plan[way], ...change };
    for (const pair of this.pairs) pair.impose(change, ways);
  }

  private async shutDown(): Promise<void> {
    const closed = once(this.server, 'close');
    this.server.close();
    await Promise.all([closed, ...this.connections.map((pair) => pair.close())]);
  }

  private readonly onConnection = (client: Socket): void => {
    if (this.isRefusing) {
      this.tally.addFault('refuse');
      client.destroy();
      return;
    }
    const number = ++this.connectionCount;
    const server = connect({ ...withHost(this.target), allowHalfOpen: true, noDelay: true });
    const onUnreachable = (): void => void this.unreachableCount++;
    server.once('error', onUnreachable).once('connect', () => server.off('error', onUnreachable));

    const pair = new FaultPair(
      number,
      { socket: client, isTcp: 'port' in this.endpoint },
      { socket: server, isTcp: 'port' in this.target },
      this.plan,
      this.tally,
      { toServer: this.chances(number, 0), toClient: this.chances(number, 1) },
    );
    this.pairs.add(pair);
    void pair.closed.then(() => this.pairs.delete(pair));
    this.emit('connection', pair);
  };

  private chances(connection: number, way: number): FlowChances {
    return {
      jitter: seededRandom(this.seed, connection, way, 0),
      bits: seededRandom(this.seed, connection, way, 1),
    };
  }
}

function withHost(address: FaultProxyAddress): { path: string } | { host: string; port: number } {
  return 'path' in address
    ? { path: address.path }
    : { host: address.host ?? DEFAULT_HOST, port: address.port };
}

function endpointOf(server: Server): FaultProxyEndpoint {
  const address = server.address() as AddressInfo | string;
  return typeof address === 'string' ? { path: address } : { host: address.address, port: address.port };
}

function label(address: FaultProxyAddress): string {
  return 'path' in address ? address.path : `${address.host ?? DEFAULT_HOST}:${address.port}`;
}
