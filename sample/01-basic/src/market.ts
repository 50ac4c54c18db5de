import { Injectable } from '@nestjs/common';
import { interval, map, startWith, type Observable } from 'rxjs';

export interface Quote {
  readonly symbol: string;
  readonly price: number;
}

/** Prices that move a little whenever somebody looks. */
@Injectable()
export class Market {
  private readonly prices = new Map([
    ['ACME', 101.2],
    ['GLOBEX', 48.75],
    ['INITECH', 12.4],
  ]);

  get symbols(): string[] {
    return [...this.prices.keys()];
  }

  quote(symbol: string): Quote | undefined {
    const before = this.prices.get(symbol);
    if (before === undefined) return undefined;
    const price = Math.round((before + (Math.random() - 0.5) * 0.4) * 100) / 100;
    this.prices.set(symbol, price);
    return { symbol, price };
  }

  /** A quote every 150 ms, without an end. */
  watch(symbol: string): Observable<Quote | undefined> {
    return interval(150).pipe(
      startWith(0),
      map(() => this.quote(symbol)),
    );
  }
}
