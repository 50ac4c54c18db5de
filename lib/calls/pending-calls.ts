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
    call.number = ++this.count;
    call.id = `${this.prefix}${call.number}-${this.all.add(call)}`;
  }

  remove(call: PendingCall<S>): void {
    this.all.remove(call);
  }

  /** The call that was sent with this id and has not ended. */
  find(id: string): PendingCall<S> | undefined {
    const { length } = this.prefix;
    const dash = id.indexOf('-', length);
    // The numbers are compared: the id of a call is text in pieces, which a comparison would have to join.
    const call = this.all.get(readNumber(id, dash + 1, id.length));
    return call?.state === 'sent' &&
      call.number === readNumber(id, length, dash) &&
      id.startsWith(this.prefix)
      ? call
      : undefined;
  }

  toArray(): PendingCall<S>[] {
    return this.all.toArray();
  }

  /** What is in flight on this connection, in the order of its making. */
  inFlightOn(session: S): PendingCall<S>[] {
    const calls = this.all.toArray().filter((call) => call.session === session);
    // Places are given again in any order.
    return calls.toSorted((one, other) => one.number - other.number);
  }
}

const ZERO = 0x30;
const MOST_DIGITS = 15;

/** A whole number as we write it; -1 for anything else. */
function readNumber(text: string, start: number, end: number): number {
  const digits = end - start;
  if (digits < 1 || digits > MOST_DIGITS || (digits > 1 && text.charCodeAt(start) === ZERO)) return -1;
  let number = 0;
  for (let i = start; i < end; i++) {
    const digit = text.charCodeAt(i) - ZERO;
    if (digit < 0 || digit > 9) return -1;
    number = number * 10 + digit;
  }
  return number;
}
