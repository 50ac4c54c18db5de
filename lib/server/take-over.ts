import { connect } from 'node:net';
import { Connection } from '../connection/connection.js';
import { AddressInUseError } from '../errors/address.errors.js';
import { CAPABILITIES, PACKAGE_NAME } from '../protocol/capabilities.js';
import { ANY_SERVER } from '../protocol/dialects.js';
import { encodeHeartbeat, extra } from '../protocol/envelope.js';
import { readErrorDetail, readGreeting } from '../protocol/guards.js';
import { MessageType, type MessageBody } from '../protocol/message-body.js';
import { describeServer } from './path-probe.js';
import { identify } from './socket-path.js';

/**
 * Handing a path from a running server to its successor, with the running one's consent:
 *
 *     successor ── heartbeat { hello, take_over: true } ──► owner      asks
 *     successor ◄── error frame, TAKE_OVER_GRANTED ──────── owner      the owner stops watching the path
 *     successor    renames its own socket over the path                at no moment is there none
 *     successor ── ends the connection ───────────────────► owner      looks: the path is not its own any more,
 *                                                                      tells its clients and drains
 *
 * The consent is the connection: it is for the socket that was at the path when the successor connected, and over
 * when the connection is. If the path is still its own then, the owner goes on as before.
 */
export const TAKE_OVER_GRANTED = 'TAKE_OVER_GRANTED';
export const TAKE_OVER_REFUSED = 'TAKE_OVER_REFUSED';

/** How long the owner gets to answer, greeting included. */
const ANSWER_TIMEOUT_MS = 3_000;
/** How long a successor gets to take the path. It takes milliseconds; meanwhile the path is not watched. */
export const CONSENT_MS = 10_000;

export interface Consent {
  /** Whether the socket with this identity may be replaced now. */
  covers(key: string): boolean;
  /** Tells the owner that the path has been taken, or will not be. */
  release(): void;
}

/**
 * Asks the server at `path` to let go of it. Undefined if there is none, or it goes without an answer.
 * @throws AddressInUseError if it does not let go
 */
export function askForPath(path: string, maxFrameBytes: number): Promise<Consent | undefined> {
  return new Promise((resolve, reject) => {
    let holder = 'a running server';
    const refuse = (reason: string): void => {
      clearTimeout(timer);
      reject(new AddressInUseError(path, `${holder}, which ${reason}`));
      connection.destroy();
    };
    const leave = (): void => {
      clearTimeout(timer);
      resolve(undefined);
      connection.end();
    };
    const onGreeting = (body: MessageBody): void => {
      const greeting = readGreeting(body.data);
      holder = describeServer(greeting);
      if (greeting.caps?.includes('take_over') !== true) {
        refuse('does not allow a take-over');
        return;
      }
      const hello = { name: PACKAGE_NAME, caps: CAPABILITIES, max_frame_bytes: maxFrameBytes };
      connection.send(encodeHeartbeat(extra('hello', hello) + extra('take_over', true)));
    };
    const onAnswer = (body: MessageBody): void => {
      const { code } = readErrorDetail(body.error_detail);
      if (code === TAKE_OVER_GRANTED) {
        clearTimeout(timer);
        resolve({
          covers: (key) => key === standing && connection.isOpen,
          release: () => connection.end(),
        });
      } else if (code === TAKE_OVER_REFUSED) {
        refuse('refused the take-over');
      }
      // Anything else is on its way to the end of the connection.
    };
    const owner = {
      onMessage(body: MessageBody): void {
        if (body.msg_type === MessageType.Response) onGreeting(body);
        else if (body.msg_type === MessageType.Error) onAnswer(body);
      },
      onEnd: leave,
      onClose: leave,
    };
    const standing = identify(path)?.key;
    const connection = new Connection(connect(path), owner, path, maxFrameBytes, ANY_SERVER);
    const timer = setTimeout(
      () => refuse(`did not answer within ${ANSWER_TIMEOUT_MS} ms`),
      ANSWER_TIMEOUT_MS,
    );
  });
}
