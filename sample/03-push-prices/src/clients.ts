import { applyDecorators, Controller, Injectable, Module, type DynamicModule } from '@nestjs/common';
import { Ctx, Payload } from '@nestjs/microservices';
import {
  InjectUnixSocketClient,
  OnConnect,
  OnPush,
  UnixSocketModule,
  UnixSocketPushContext,
  type PushOverflow,
  type UnixSocketClientProxy,
} from 'nestjs-unix-socket';
import type { Joining, Report } from './feed.js';
import { POLICIES, Tally, type Tick } from './tick.js';

/** How long the slow handlers of the ponderer take. */
const PONDER_MS = 25;

function join(client: UnixSocketClientProxy, joining: Joining): Promise<unknown> {
  return client.request('join', joining);
}

async function report(
  client: UnixSocketClientProxy,
  name: string,
  tallies: Map<string, Tally>,
): Promise<void> {
  const seen = Object.fromEntries([...tallies].map(([key, tally]) => [key, tally.summary()]));
  await client.request('report', { name, seen } satisfies Report);
}

/** Reads and handles everything at once, in the same room as a client that does not. */
@Controller()
class Desk {
  private readonly tally = new Tally();

  @OnConnect()
  async onConnect(client: UnixSocketClientProxy): Promise<void> {
    this.tally.connections++;
    await join(client, { room: 'disconnect', name: 'desk' });
  }

  @OnPush('tick')
  onTick(tick: Tick): void {
    this.tally.add(tick);
  }

  @OnPush('over')
  onOver(@Payload() _data: null, @Ctx() context: UnixSocketPushContext): Promise<void> {
    return report(context.getClient(), 'desk', new Map([['disconnect', this.tally]]));
  }
}

/** A process that blocks: while it sleeps it reads nothing, on any of its five connections. */
@Injectable()
class Sleeper {
  private readonly tallies = new Map(POLICIES.map((policy) => [policy as string, new Tally()]));

  constructor(@InjectUnixSocketClient('latest') private readonly latest: UnixSocketClientProxy) {}

  @OnConnect({ client: 'disconnect' })
  onDisconnectRoom(client: UnixSocketClientProxy): Promise<unknown> {
    return this.enter(client, 'disconnect');
  }

  @OnConnect({ client: 'dropNewest' })
  onDropNewestRoom(client: UnixSocketClientProxy): Promise<unknown> {
    return this.enter(client, 'dropNewest');
  }

  @OnConnect({ client: 'dropOldest' })
  onDropOldestRoom(client: UnixSocketClientProxy): Promise<unknown> {
    return this.enter(client, 'dropOldest');
  }

  @OnConnect({ client: 'latest' })
  onLatestRoom(client: UnixSocketClientProxy): Promise<unknown> {
    return this.enter(client, 'latest');
  }

  @OnConnect({ client: 'volatile' })
  onVolatileRoom(client: UnixSocketClientProxy): Promise<unknown> {
    return this.enter(client, 'volatile');
  }

  @OnTickOfEach()
  onTick(tick: Tick): void {
    this.tallies.get(tick.room)?.add(tick);
  }

  @OnPush('sleep', { client: 'latest' })
  onSleep(milliseconds: number): void {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
  }

  @OnPush('over', { client: 'latest' })
  onOver(): Promise<void> {
    return report(this.latest, 'sleeper', this.tallies);
  }

  /** On every connection, so also on those after a loss. */
  private enter(client: UnixSocketClientProxy, room: string): Promise<unknown> {
    const tally = this.tallies.get(room);
    if (tally !== undefined) tally.connections++;
    return join(client, { room, name: `sleeper/${room}` });
  }
}

/** One method for the ticks of five clients. */
function OnTickOfEach(): MethodDecorator {
  return applyDecorators(...POLICIES.map((client) => OnPush('tick', { client })));
}

/** Reads everything, but takes its time over each tick: what the client does with those that wait is up to it. */
@Controller()
class Ponderer {
  private readonly tallies = new Map<string, Tally>();

  @OnConnect()
  onConnect(client: UnixSocketClientProxy): Promise<unknown> {
    return join(client, { room: 'disconnect', name: 'ponderer' });
  }

  @OnPush('tick', { bufferSize: 100, overflow: 'dropOldest' })
  dropOldest(tick: Tick): Promise<void> {
    return this.ponder('dropOldest', tick);
  }

  @OnPush('tick', { bufferSize: 100, overflow: 'dropNewest' })
  dropNewest(tick: Tick): Promise<void> {
    return this.ponder('dropNewest', tick);
  }

  @OnPush('tick', { overflow: 'latest', key: ({ symbol }: Tick) => symbol })
  latest(tick: Tick): Promise<void> {
    return this.ponder('latest', tick);
  }

  @OnPush('over')
  onOver(@Payload() _data: null, @Ctx() context: UnixSocketPushContext): Promise<void> {
    return report(context.getClient(), 'ponderer', this.tallies);
  }

  private ponder(overflow: PushOverflow, tick: Tick): Promise<void> {
    const tally = this.tallies.get(overflow) ?? new Tally();
    this.tallies.set(overflow, tally);
    tally.add(tick);
    return new Promise((resolve) => setTimeout(resolve, PONDER_MS));
  }
}

const PARTS = {
  desk: { clients: ['desk'], handlers: Desk },
  sleeper: { clients: POLICIES, handlers: Sleeper },
  ponderer: { clients: ['ponderer'], handlers: Ponderer },
};

export type ClientRole = keyof typeof PARTS;

@Module({})
export class ClientModule {
  static of(role: ClientRole, path: string): DynamicModule {
    const { clients, handlers } = PARTS[role];
    const named = clients.map((name) => ({ name, path, eager: true, reconnect: { initialDelayMs: 100 } }));
    return {
      module: ClientModule,
      imports: [UnixSocketModule.forClient(...named)],
      providers: [handlers],
    };
  }
}
