import { connect } from 'node:net';
import { Connection } from '../connection/connection.js';
import { AddressInUseError } from '../errors/address.errors.js';
import { CAPABILITIES, PACKAGE_NAME } from '../protocol/capabilities.js';
import { encodeHeartbeat, extra } from '../protocol/envelope.js';
import { readErrorDetail, readGreeting } from '../protocol/guards.js';
import { MessageType, type MessageBody } from '../protocol/message-body.js';

/**
 * Handing a path from a running server to its successor, with the running one's consent:
 *
 *     successor ── heartbeat { hello, take_over: true } ──► owner      asks
 *     successor ◄── error frame, TAKE_OVER_GRANTED ──────── owner      the owner stops watching the path
 *     successor    renames its own socket over the path                at no moment is there none
 *     successor ── ends the connection ───────────────────► owner      looks: the path is not its own any more,
 *                                                                      tells its clients and drains
 */
export const TAKE_OVER_GRANTED = 'TAKE_OVER_GRANTED';
export const TAKE_OVER_REFUSED = 'TAKE_OVER_REFUSED';

/** How long the owner gets to answer, greeting included. */
const ANSWER_TIMEOUT_MS = 3_000;

/** The owner's consent, valid until {@link release}. */
export interface Consent {
  /** Tells the owner that the path has been taken, or will not be. */
  release(): void;
}

/** Asks the server at `path` to let go of it. @throws AddressInUseError if it does not */
export function askForPath(path: string, maxFrameBytes: number): Promise<Consent> {
  return new Promise((resolve, reject) => {
    let holder = 'a running server';
    const refuse = (reason: string, cause?: Error): void => {
      clearTimeout(timer);
      reject(new AddressInUseError(path, `${holder}, which ${reason}`, { cause }));
      connection.destroy();
    };
    const onGreeting = (body: MessageBody): void => {
      const { accountId, connectionId, caps } = readGreeting(body.data);
      holder = `a running server (account "${accountId}", connection ${connectionId})`;
      if (caps?.includes('take_over') !== true) {
        refuse('does not allow a take-over');
        return;
      }
      const hello = { name: PACKAGE_NAME, caps: CAPABILITIES, max_frame_bytes: maxFrameBytes };
      connection.send(encodeHeartbeat(extra('hello', hello) + extra('take_over', true)));
    };
    const owner = {
      onMessage(body: MessageBody): void {
        if (body.msg_type === MessageType.Response) onGreeting(body);
        if (body.msg_type !== MessageType.Error) return;
        const { code } = readErrorDetail(body.error_detail);
        if (code === TAKE_OVER_GRANTED) {
          clearTimeout(timer);
          resolve({ release: () => connection.end() });
        } else {
          refuse('refused the take-over');
        }
      },
      onEnd: () => refuse('ended the connection'),
      onClose: (cause: Error | undefined) => refuse('ended the connection', cause),
    };
    const connection = new Connection(connect(path), owner, path, maxFrameBytes);
    const timer = setTimeout(
      () => refuse(`did not answer within ${ANSWER_TIMEOUT_MS} ms`),
      ANSWER_TIMEOUT_MS,
    );
  });
}
