/** Hears that the turn is over in which it asked. */
export interface TurnListener {
  onTurnEnd(): void;
}

/**
 * Number of the present turn: what this process does for one event, promise callbacks included. Whoever writes to a
 * hundred sockets in a turn pays for its end once, not a hundred times.
 */
let turn = 0;
let isEndPlanned = false;
let listeners: TurnListener[] = [];

/** The present turn; another number in the next one. */
export function presentTurn(): number {
  if (!isEndPlanned) {
    isEndPlanned = true;
    // Runs behind every promise callback of this turn, so behind the handlers of one chunk.
    process.nextTick(endTurn);
  }
  return turn;
}

/** Tells `listener` once when the present turn is over. */
export function atTurnEnd(listener: TurnListener): void {
  listeners.push(listener);
}

function endTurn(): void {
  turn++;
  isEndPlanned = false;
  if (listeners.length === 0) return;
  const told = listeners;
  listeners = [];
  for (const listener of told) listener.onTurnEnd();
}
