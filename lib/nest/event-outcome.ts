import { AsyncSubject } from 'rxjs';
import type { CallObserver } from '../calls/pending-call.js';

/** What `emit` returns: hears how one event went, and tells whoever subscribes, before or after. */
export class EventOutcome<T> extends AsyncSubject<T> implements CallObserver {
  constructor() {
    super();
    // Handed on with the end. An event has no value.
    super.next(undefined as T);
  }

  /** The answer to an acknowledged event says that it was handled, and no more. */
  override next(): void {
    // Nothing to hand on.
  }
}
