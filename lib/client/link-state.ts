/**
 * The life of a link:
 *
 *     idle ──► connecting ──► ready ──► draining ──► closed
 *      ▲          │  ▲          │
 *      │          ▼  │          │ lost
 *      └──────── backoff ◄──────┘        close() leads from every state to closed
 *
 * `idle` is also where a link rests that is not to reconnect, until the next call.
 */
export type LinkState = 'idle' | 'connecting' | 'ready' | 'backoff' | 'draining' | 'closed';

export const LEGAL_MOVES: Readonly<Record<LinkState, readonly LinkState[]>> = {
  idle: ['connecting', 'closed'],
  connecting: ['ready', 'backoff', 'idle', 'closed'],
  ready: ['backoff', 'idle', 'draining', 'closed'],
  backoff: ['connecting', 'idle', 'closed'],
  draining: ['closed'],
  closed: [],
};
