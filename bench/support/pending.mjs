/**
 * The calls of one client that wait for answers, for peers that have none of their own. Each is found by its slot,
 * the number that travels with it. Not a Map: one that gains and loses an entry per call leaves outgrown tables
 * behind that keep the calls they held alive until the next full collection, which costs a third.
 */
export class Pending {
  #calls = [];
  #freeSlots = [];

  /** @param {(slot: number) => void} transmit sends the call. @param {(item: unknown) => void} [onItem] of a stream */
  start(transmit, onItem) {
    return new Promise((resolve, reject) => {
      const slot = this.#freeSlots.pop() ?? this.#calls.length;
      this.#calls[slot] = { resolve, reject, onItem };
      transmit(slot);
    });
  }

  onItem(slot, item) {
    this.#calls[slot].onItem(item);
  }

  resolve(slot, value) {
    this.#take(slot).resolve(value);
  }

  reject(slot, error) {
    this.#take(slot).reject(error);
  }

  #take(slot) {
    const call = this.#calls[slot];
    this.#calls[slot] = undefined;
    this.#freeSlots.push(slot);
    return call;
  }
}
