import { Controller, Inject, Module, type DynamicModule } from '@nestjs/common';
import { Ctx, MessagePattern, Payload } from '@nestjs/microservices';
import {
  OnDisconnect,
  UnixSocketContext,
  UnixSocketModule,
  UnixSocketServer,
  type ClientConnection,
} from 'nestjs-unix-socket';
import { say } from './print.js';
import { POLICIES, type Summary, type Tick } from './tick.js';

const SYMBOLS = ['ACME', 'GLOBEX', 'INITECH', 'UMBRELLA'];
const TICK_EVERY_MS = 10;

/** What a client says of itself when it has connected. */
export interface Joining {
  readonly room: string;
  readonly name: string;
}

/** What a client saw, subscription by subscription. */
export interface Report {
  readonly name: string;
  readonly seen: Readonly<Record<string, Summary>>;
}

/** Pushes four prices every ten milliseconds to a room for each policy, and tells what it notices. */
@Controller()
export class Feed {
  ticks = 0;
  private readonly names = new Map<ClientConnection, string>();
  private readonly reports = new Map<string, (report: Report) => void>();
  private onJoined: () => void = () => undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(@Inject(UnixSocketServer) private readonly server: UnixSocketServer) {
    for (const policy of POLICIES) server.setRoomPolicy(policy, policy);
    const reported = new Set<string>();
    server.on('slowConsumer', (connection) => {
      const name = this.nameOf(connection);
      if (!reported.has(name)) say('feed', `${name} does not read: what is pushed to it begins to wait`);
      reported.add(name);
    });
  }

  start(): void {
    this.timer = setInterval(() => SYMBOLS.forEach((symbol) => this.tick(symbol)), TICK_EVERY_MS);
  }

  stop(): void {
    clearInterval(this.timer);
  }

  async joined(count: number): Promise<void> {
    while (this.names.size < count) await new Promise<void>((resolve) => (this.onJoined = resolve));
  }

  /** What the client with this name will have seen. */
  report(name: string): Promise<Report> {
    return new Promise((resolve) => this.reports.set(name, resolve));
  }

  @OnDisconnect()
  onDisconnect(connection: ClientConnection, cause: Error | undefined): void {
    if (cause !== undefined) say('feed', `${this.nameOf(connection)} was cut: ${cause.message}`);
    this.names.delete(connection);
  }

  @MessagePattern<string>('join')
  join(@Payload() { room, name }: Joining, @Ctx() context: UnixSocketContext): void {
    const connection = context.getConnection();
    connection.join(room);
    this.names.set(connection, name);
    say('feed', `hello, ${name}`);
    this.onJoined();
  }

  @MessagePattern('report')
  onReport(@Payload() report: Report): void {
    this.reports.get(report.name)?.(report);
  }

  private tick(symbol: string): void {
    const n = ++this.ticks;
    const price = 100 + Math.round(Math.sin(n / 100) * 1_000) / 100;
    for (const room of POLICIES) {
      const tick: Tick = { n, symbol, price, room, at: Date.now(), book: 'x'.repeat(2_000) };
      // `key` is for the policy `latest`: the newest tick of each symbol replaces the one before.
      this.server.to(room).push('tick', tick, { key: symbol });
    }
  }

  private nameOf(connection: ClientConnection): string {
    return this.names.get(connection) ?? connection.id;
  }
}

@Module({})
export class FeedModule {
  static at(path: string): DynamicModule {
    return {
      module: FeedModule,
      // Small, so that the policies show within a few seconds.
      imports: [UnixSocketModule.forRoot({ path, maxSendQueueBytes: 256 * 1024 })],
      controllers: [Feed],
    };
  }
}
