/** The messages that are sent most may be compact frames. */
export const COMPACT = 'compact';
/** A stream goes no further than its caller has said. */
export const CREDIT = 'credit';

/**
 * What this package understands beyond the base protocol. A server lists it in its greeting, a client in its
 * `hello`; extension keys go only to a peer that has shown one of them.
 */
export const CAPABILITIES: readonly string[] = [
  'stream',
  'cancel',
  'deadline',
  'meta',
  'error_detail',
  'packet',
  'probe',
  'going_away',
  'resume',
  CREDIT,
];

/** A client answers pushes that ask for it. */
export const ACK = 'ack';
/** A client takes calls of its server. */
export const REVERSE = 'reverse';

/** The text the protocol fixes for a request that nothing handles. */
export const UNKNOWN_REQUEST_TYPE = 'Unknown request type';

/** Name in `hello`. */
export const PACKAGE_NAME = 'nestjs-unix-socket';
