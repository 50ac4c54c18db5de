import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import type { PathEndpoint, TcpEndpoint } from '../../options/endpoint.js';
import { COMPACT_GREETING, type Call, type Dialect } from './dialect.js';
import { RawPeer, show } from './raw-peer.js';
import { NotJudged, PeerAbsent } from './verdict.js';
import { isObject, type Received } from './wire.js';

/** The request with which the application reports on its last task and asks for the next. */
const NEXT = 'conformance.next';

/** One call that the application is to make; see docs/conformance.md. */
export interface Order {
  readonly type: string;
  readonly data: unknown;
  /** The result is an array of all values. */
  readonly stream?: true;
  readonly event?: true;
  readonly cancelAfterMs?: number;
  readonly timeoutMs?: number;
  readonly meta?: Readonly<Record<string, string>>;
}

export interface Outcome {
  readonly result?: unknown;
  readonly error?: unknown;
  readonly code?: unknown;
  readonly unsupported?: unknown;
}

export interface Report {
  readonly outcomes: readonly Outcome[];
  readonly pushes: readonly unknown[];
  readonly received: Received;
}

/** A connection whose client waits for its next task. */
export interface Turn {
  readonly peer: RawPeer;
  readonly next: Call;
  /** How it was greeted. */
  readonly greeting: Buffer;
}

const RECONNECT_TIMEOUT_MS = 15_000;

/** The kit as the server of the client under test, which it tells what to do, task by task. */
export class ClientBench {
  private readonly peers: RawPeer[] = [];
  private arrived: RawPeer[] = [];
  private onArrival: () => void = () => undefined;
  private current: Turn | undefined;
  private tasks = 0;

  private constructor(
    private readonly server: Server,
    readonly dialect: Dialect,
    readonly timeoutMs: number,
  ) {
    server.on('connection', (socket) => {
      const peer = new RawPeer(socket, timeoutMs);
      this.peers.push(peer);
      this.arrived.push(peer);
      this.onArrival();
    });
  }

  /** @throws PeerAbsent if nobody can listen there */
  static async listen(
    endpoint: PathEndpoint | TcpEndpoint,
    dialect: Dialect,
    timeoutMs: number,
  ): Promise<ClientBench> {
    const server = createServer({ allowHalfOpen: true, noDelay: true });
    server.listen(endpoint);
    await once(server, 'listening').catch((error: Error) => {
      throw new PeerAbsent(`Cannot listen: ${error.message}`);
    });
    return new ClientBench(server, dialect, timeoutMs);
  }

  get address(): string | { readonly port: number } | null {
    return this.server.address();
  }

  /** Waits for the first connection. @throws PeerAbsent */
  async attend(timeoutMs: number): Promise<void> {
    this.arrived.unshift(await this.accept(timeoutMs));
  }

  /** A connection whose client waits for a task: the one there is, if it was greeted like this. */
  async turn(greeting = this.dialect.greeting): Promise<Turn> {
    const { current } = this;
    if (current !== undefined && !current.peer.isGone && current.greeting.equals(greeting)) return current;
    current?.peer.destroy();
    this.current = undefined;
    const peer = await this.accept(RECONNECT_TIMEOUT_MS);
    greet(peer, greeting);
    return this.awaitNext(peer, greeting);
  }

  /** Has the application make these calls, at once. */
  order({ peer, next }: Turn, orders: readonly Order[]): void {
    this.current = undefined;
    peer.send(this.dialect.answer(next.id, { task: ++this.tasks, calls: orders }));
  }

  /** The same, and waits for the calls. @returns what it sends, in the order of `orders` */
  async give(turn: Turn, orders: readonly Order[]): Promise<Call[]> {
    const { peer } = turn;
    this.order(turn, orders);
    const calls: Call[] = [];
    while (calls.length < orders.length) {
      const received = await peer.next('the call', (body) => this.read(body) !== undefined);
      const call = this.dialect.readCall(received) as Call;
      if (call.type === NEXT) {
        readReport(peer, call);
        throw peer.broken('the call', 'a report without it', received.bytes);
      }
      calls.push(call);
    }
    const placeOf = ({ type }: Call): number => orders.findIndex((order) => order.type === type);
    return calls.sort((one, other) => placeOf(one) - placeOf(other));
  }

  /** What has become of the calls, told on this connection or, if it is lost, on the next. */
  async report({ peer, greeting }: Turn): Promise<Report> {
    const isTold = (): boolean => peer.frames.some((received) => this.isReport(received));
    await peer.until(() => peer.isGone || isTold());
    if (!peer.isGone || isTold()) return this.readNext(peer, greeting);
    return this.reportOn(await this.accept(RECONNECT_TIMEOUT_MS));
  }

  /** The same, told on a new connection. */
  reportOn(peer: RawPeer, greeting = this.dialect.greeting): Promise<Report> {
    greet(peer, greeting);
    return this.readNext(peer, greeting);
  }

  /** Has the application make one call and answers it with `frames`, made for its id. */
  async exchange(turn: Turn, order: Order, frames: (id: unknown) => readonly Buffer[]): Promise<Report> {
    const [call] = (await this.give(turn, [order])) as [Call];
    turn.peer.send(...frames(call.id));
    return this.report(turn);
  }

  /** The next rule finds a new connection. */
  reset(): void {
    this.current?.peer.destroy();
    this.current = undefined;
    for (const peer of this.peers.splice(0)) if (!this.arrived.includes(peer)) peer.destroy();
  }

  /** Tells the application that this was all. */
  async close(): Promise<void> {
    const { current } = this;
    if (current !== undefined && !current.peer.isGone) {
      current.peer.send(this.dialect.answer(current.next.id, { done: true }));
      await current.peer.until(() => current.peer.isGone, Math.min(this.timeoutMs, 500));
    }
    this.server.close();
    for (const peer of [...this.peers, ...this.arrived]) peer.destroy();
  }

  /** The next connection. */
  async accept(timeoutMs: number): Promise<RawPeer> {
    for (;;) {
      const peer = this.arrived.shift();
      if (peer !== undefined && !peer.isGone) return peer;
      if (peer !== undefined) continue;
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(
          () => reject(new PeerAbsent(`No client connected within ${timeoutMs / 1_000} s`)),
          timeoutMs,
        );
        this.onArrival = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  private async awaitNext(peer: RawPeer, greeting: Buffer): Promise<Turn> {
    const received = await peer.next(`the request "${NEXT}"`, (body) => this.read(body)?.type === NEXT);
    this.current = { peer, next: this.dialect.readCall(received) as Call, greeting };
    return this.current;
  }

  private read(body: Record<string, unknown>): Call | undefined {
    return this.dialect.readCall({ bytes: Buffer.alloc(0), body });
  }

  private async readNext(peer: RawPeer, greeting: Buffer): Promise<Report> {
    const { next } = await this.awaitNext(peer, greeting);
    return readReport(peer, next);
  }

  /** Whether this frame tells of the present task. */
  private isReport(received: Received): boolean {
    const call = this.dialect.readCall(received);
    return call?.type === NEXT && isObject(call.data) && call.data['task'] === this.tasks;
  }
}

function greet(peer: RawPeer, greeting: Buffer): void {
  peer.readsCompact = greeting.equals(COMPACT_GREETING);
  peer.send(greeting);
}

function readReport(peer: RawPeer, { data, received }: Call): Report {
  const { outcomes, pushes } = isObject(data) ? data : {};
  if (!Array.isArray(outcomes) || !outcomes.every(isObject)) {
    throw peer.broken('a report with outcomes', show(data), received.bytes);
  }
  const refusal = outcomes.find(({ unsupported }) => unsupported !== undefined);
  if (refusal !== undefined) {
    throw new NotJudged(`the application says that it cannot: ${String(refusal['unsupported'])}`);
  }
  return { outcomes, pushes: Array.isArray(pushes) ? pushes : [], received };
}
