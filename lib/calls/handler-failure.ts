import type { CallFailure } from './incoming-call.js';

/** A handler has failed, and whoever has to look into it has been told: this is what its caller may know. */
export class HandlerFailure extends Error {
  override readonly name = 'HandlerFailure';

  constructor(readonly failure: CallFailure) {
    super(failure.message);
  }
}
