/** An entry of {@link Slots}; it keeps its own place. */
export interface Slotted {
  /** Owned by {@link Slots}: -1 while in none. */
  slot: number;
}

/**
 * A set whose members come and go with every message. A Map or Set would do, but one that has once been moved to
 * the old generation keeps its former contents alive until the next full collection, which under load costs a
 * multiple of everything else done per message; an array with a list of free places does not.
 */
export class Slots<T extends Slotted> {
  private readonly members: (T | undefined)[] = [];
  private readonly free: number[] = [];
  private count = 0;

  get size(): number {
    return this.count;
  }

  /** Gives `member` a place and returns its number, which is free again after {@link remove}. */
  add(member: T): number {
    const slot = this.free.pop() ?? this.members.length;
    this.members[slot] = member;
    member.slot = slot;
    this.count++;
    return slot;
  }

  get(slot: number): T | undefined {
    return this.members[slot];
  }

  /** False if it was not here. */
  remove(member: T): boolean {
    const { slot } = member;
    if (this.members[slot] !== member) return false;
    this.members[slot] = undefined;
    this.free.push(slot);
    member.slot = -1;
    this.count--;
    return true;
  }

  find(predicate: (member: T) => boolean): T | undefined {
    return this.members.find((member) => member !== undefined && predicate(member));
  }

  toArray(): T[] {
    return this.members.filter((member) => member !== undefined);
  }
}
