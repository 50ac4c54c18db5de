// Judges the numbered pushes of one client: in each room every number once and in order, or in a gap that was
// reported before the numbers behind it.
export class NumberJudge {
  pushes = 0;
  gaps = 0;
  /** Gaps without an end: the client was known no more. */
  openGaps = 0;
  faults = [];
  #rooms = new Map();

  constructor(client) {
    client.on('gap', (gap) => this.#onGap(gap));
    client.onPush('tick', (_data, { seq }) => {
      this.pushes++;
      for (const position of seq ?? [{ room: 'none', epoch: '', n: 0 }]) this.#onNumber(position);
    });
  }

  lastOf(room) {
    return this.#rooms.get(room)?.n ?? 0;
  }

  #onGap({ room, from, to }) {
    this.gaps++;
    if (to === undefined) this.openGaps++;
    const known = this.#rooms.get(room);
    if (known === undefined) return;
    if (known.next !== undefined && known.next !== from)
      this.#fault(`${room}: a gap from ${from}, not ${known.next}`);
    if (to !== undefined && to < from) this.#fault(`${room}: a gap from ${from} to ${to}`);
    known.next = to === undefined ? undefined : to + 1;
  }

  #onNumber({ room, epoch, n }) {
    const known = this.#rooms.get(room);
    if (known?.next !== undefined && (known.next !== n || known.epoch !== epoch))
      this.#fault(`${room}: ${epoch}:${n} instead of ${known.epoch}:${known.next}`);
    this.#rooms.set(room, { epoch, n, next: n + 1 });
  }

  #fault(text) {
    if (this.faults.length < 20) this.faults.push(text);
  }
}
