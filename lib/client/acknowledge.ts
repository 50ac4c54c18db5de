import type { CallChannel } from '../calls/call-channel.js';
import { IncomingCall, type CallOwner } from '../calls/incoming-call.js';
import { readIncoming } from '../calls/incoming-message.js';
import { failureOf } from '../calls/run-function-handler.js';
import type { MessageBody } from '../protocol/message-body.js';
import type { PushHandling } from './push-handling.js';

const DROPPED = 'A handler of the push was too slow for it, so it was dropped.';

/** The answer of a push counts as no call. */
const UNOWNED: CallOwner<CallChannel> = {
  isHeldBack: false,
  onAnswerWaits: () => undefined,
  onCallSettled: () => undefined,
  maxReservedBytes: 0,
  reserve: () => false,
};

/** The connection that a push came over. */
export interface PushChannel extends CallChannel {
  readonly queuedBytes: number;
}

/**
 * What tells the sender of a push, as the answer of a call, how its handlers have fared. Undefined if it is not to
 * be told.
 * @param maxQueuedBytes one that leaves more unread gets no answers
 */
export function acknowledgement(
  channel: PushChannel,
  push: MessageBody,
  bytes: number,
  maxQueuedBytes: number,
): ((handling: PushHandling) => void) | undefined {
  if (!channel.isUpgraded || channel.queuedBytes > maxQueuedBytes) return undefined;
  const call = new IncomingCall(channel, readIncoming('request', push, bytes), UNOWNED);
  return (handling) => acknowledge(call, handling);
}

function acknowledge(call: IncomingCall, { handlers, dropped, errors }: PushHandling): void {
  if (handlers === 0) call.failUnknown();
  else if (errors.length > 0) call.fail(failureOf(errors[0]));
  else if (dropped === handlers) call.refuse('OVERLOADED', DROPPED);
  else if (dropped > 0) call.fail({ code: 'OVERLOADED', message: DROPPED });
  else call.respond(null);
}
