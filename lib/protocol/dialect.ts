import type { Frame } from './frame-writer.js';
import type { MessageBody } from './message-body.js';
import type { Payload } from './payload.js';

export type ProtocolVersion = 'v1' | 'v2';

/** Whatever speaks a dialect: a connection. */
export interface Speaker {
  /** Replaced once it is known what the other end speaks. */
  dialect: Dialect;
}

/**
 * How one end speaks to one other: messages to frames, bodies to messages. Above, nobody knows which versions and
 * codecs there are. Holds no state of a connection, so one object serves all that speak alike.
 */
export interface Dialect {
  /** Undefined until the other end has shown it. */
  readonly version: ProtocolVersion | undefined;
  /** Whether its clients send heartbeats, and may be judged by their silence. */
  readonly hasHeartbeats: boolean;

  /** A value in a form that this dialect sends as it is. @throws EncodeError */
  encode(value: unknown): Payload;

  /** @param extras extension keys as a JSON fragment @throws FrameTooLargeError, also those below */
  request(id: string, type: string, payload: Payload, extras: string, maxFrameBytes: number): Frame;
  /** Undefined if no push may have this type. */
  push(id: string, type: string, payload: Payload, extras: string, maxFrameBytes: number): Frame | undefined;
  /** An event from a client. */
  event(id: string, type: string, payload: Payload, extras: string, maxFrameBytes: number): Frame;
  /** @param id the request's id, whatever it was: it goes back unchanged */
  response(id: unknown, payload: Payload, extras: string, maxFrameBytes: number): Frame;
  failure(id: unknown, text: string, detail: unknown, maxFrameBytes: number): Frame;
  /** The answer to a request that nothing handles. */
  unknownType(id: unknown, type: unknown): Frame;
  /** Undefined if there is no such message. @param id the call it is about */
  heartbeat(extras: string, id?: string): Frame | undefined;
  /** Something that the other end answers if it is well. */
  ping(extras: string): Frame;
  /** An `error` frame; see {@link encodeNotice}. Undefined if there is no such message. */
  notice(id: string, text: string, detail: { readonly code: string } | undefined): Frame | undefined;

  /**
   * The message in the bytes `start` to `end`; undefined if it says nothing.
   * @param speaker gets the dialect that the message shows
   * @param text of these bytes, if they have been read already
   * @throws MalformedFrameError: end the connection
   */
  decode(bytes: Buffer, start: number, end: number, speaker: Speaker, text?: string): MessageBody | undefined;
}
