import { Slots } from '../connection/slots.js';
import type { PendingCall } from './pending-call.js';

/**
 * Calls that have not ended, found by their ids: the place of a call is part of its id, so that an answer finds it
 * without a table.
 */
export class PendingCalls<S> {
  private readonly all = new Slots<PendingCall<S>>();
  private count = 0;

  /** @param prefix keeps the ids of two callers at one receiver apart */
  constructor(private readonly prefix: string) {}

  get size(): number {
    return this.all.size;
  }

  /** Gives the call its id. */
  add(call: PendingCall<S>): void {
    call.id = `${this.prefix}${++this.count}-${this.all.add(call)}`;
  }

  remove(call: PendingCall<S>): void {
    this.all.remove(call);
  }

  /** The call that was sent with this id and has not ended. */
  find(id: string): PendingCall<S> | undefined {
    const call = this.all.get(Number(id.slice(id.lastIndexOf('-') + 1)));
    return call !== undefined && call.id === id && call.state === 'sent' ? call : undefined;
  }

  toArray(): PendingCall<S>[] {
    return this.all.toArray();
  }

  /** What is in flight on this connection, in the order of its making. */
  inFlightOn(session: S): PendingCall<S>[] {
    const calls = this.all.toArray().filter((call) => call.session === session);
    // Places are given again in any order. Behind the prefix an id begins with the number of the call.
    const numberOf = ({ id }: PendingCall<S>): number => Number.parseInt(id.slice(this.prefix.length), 10);
    return calls.toSorted((one, other) => numberOf(one) - numberOf(other));
  }
}
