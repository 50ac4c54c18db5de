import type { ConsumerSerializer } from '@nestjs/microservices';
import type { IncomingCall } from '../calls/incoming-call.js';
import type { ReplyWriter } from './call-responder.js';
import { failureFromPayload } from './call-failure.js';

/** A Nest packet on its way out, as a serializer sees it. */
export interface OutgoingPacket {
  id?: unknown;
  response?: unknown;
  err?: unknown;
  isDisposed?: boolean;
}

/**
 * Replies through a custom serializer, which sees Nest's packets as it would on Nest's TCP transport. An upgraded
 * client gets what the serializer made, whole; a plain one the `response` in it.
 */
export function serializedReplies(serializer: ConsumerSerializer): ReplyWriter {
  const packet = (call: IncomingCall, fields: OutgoingPacket): unknown =>
    serializer.serialize({ ...fields, id: call.message.id as string });
  const responseOf = (value: unknown): unknown => (value as OutgoingPacket | undefined)?.response;
  return {
    next(call, value) {
      const out = packet(call, { response: value });
      if (call.connection.isUpgraded) call.next(out, true);
      else call.next(responseOf(out));
    },
    respond(call, value) {
      const out = packet(call, { response: value, isDisposed: true });
      if (call.connection.isUpgraded) call.respond(out, true);
      else call.respond(responseOf(out) ?? null);
    },
    complete(call) {
      const out = packet(call, { isDisposed: true });
      if (call.connection.isUpgraded) call.respond(out, true);
      else call.complete();
    },
    fail(call, payload) {
      const out = packet(call, { err: payload, isDisposed: true });
      if (call.connection.isUpgraded) call.respond(out, true);
      else call.fail(failureFromPayload((out as OutgoingPacket | undefined)?.err ?? payload));
    },
  };
}
