import type { IncomingCall } from '../calls/incoming-call.js';
import { failureOf } from '../calls/run-function-handler.js';
import type { PushHandling } from './push-handling.js';

const DROPPED = 'A handler of the push was too slow for it, so it was dropped.';

/** Tells the sender of a push, as the answer of a call, how its handlers have fared. */
export function acknowledge(call: IncomingCall, { handlers, dropped, errors }: PushHandling): void {
  if (handlers === 0) call.failUnknown();
  else if (errors.length > 0) call.fail(failureOf(errors[0]));
  else if (dropped === handlers) call.refuse('OVERLOADED', DROPPED);
  else if (dropped > 0) call.fail({ code: 'OVERLOADED', message: DROPPED });
  else call.respond(null);
}
