import { setTimeout as wait } from 'node:timers/promises';
import { Controller, Inject } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { Signal, UnixSocketServer, type ServerStats, type UnixSocketContext } from 'nestjs-unix-socket';
import { finalize, map, reduce, take, type Observable } from 'rxjs';
import { Market, type Quote } from './market.js';
import { say } from './narrator.js';

export interface Order {
  readonly symbol: string;
  readonly quantity: number;
}

/** What the desk answers. An ordinary controller: nothing in it knows of sockets but the context. */
@Controller()
export class DeskController {
  constructor(
    @Inject(Market) private readonly market: Market,
    @Inject(UnixSocketServer) private readonly server: UnixSocketServer,
  ) {}

  @MessagePattern('quote')
  quote(@Payload() symbol: string): Quote {
    const quote = this.market.quote(symbol);
    if (quote === undefined) {
      throw new RpcException({
        code: 'UNKNOWN_SYMBOL',
        message: `Nobody trades ${symbol}`,
        details: { known: this.market.symbols },
      });
    }
    return quote;
  }

  @MessagePattern({ cmd: 'value' })
  value(@Payload() { symbol, quantity }: Order): number {
    return Math.round(this.quote(symbol).price * quantity * 100) / 100;
  }

  /** A stream without an end: it stops when nobody listens any more. */
  @MessagePattern('watch')
  watch(@Payload() symbol: string, @Ctx() context: UnixSocketContext): Observable<Quote | undefined> {
    const { id } = context.getConnection();
    return this.market
      .watch(symbol)
      .pipe(finalize(() => say('server', 'cancelled', `${id} stopped watching ${symbol}`)));
  }

  /** The mean of four looks, which takes half a second. */
  @MessagePattern('average')
  average(@Payload() symbol: string): Observable<number> {
    return this.market.watch(symbol).pipe(
      take(4),
      reduce((sum, quote) => sum + (quote?.price ?? 0), 0),
      map((sum) => Math.round(sum * 25) / 100),
    );
  }

  /** Work for a minute, unless the caller gives up: the signal ends it. */
  @MessagePattern('report')
  async report(@Payload() year: number, @Signal() signal: AbortSignal): Promise<string> {
    say('server', 'working', `on the report for ${year}, which takes a minute`);
    try {
      await wait(60_000, undefined, { signal });
    } catch {
      say('server', 'cancelled', 'the report: nobody waits for it');
    }
    return `Report for ${year}`;
  }

  /** An event, so nothing is returned; the outcome is pushed to the one client that sent it. */
  @EventPattern({ order: 'placed' })
  onOrder(@Payload() order: Order, @Ctx() context: UnixSocketContext): void {
    say('server', 'event', `order placed: ${order.quantity} ${order.symbol}`);
    context.getConnection().push('order.filled', { ...order, price: this.market.quote(order.symbol)?.price });
  }

  @MessagePattern('stats')
  stats(): ServerStats {
    return this.server.getStats();
  }
}
