/**
 * The life of a link:
 *
 *                    server goes away
 *                 ┌─────────────┐
 *                 ▼             │
 *     idle ──► connecting ──► ready ──► draining ──► closed
 *      ▲          │  ▲          │
 *      │          ▼  │          │ lost
 *      └──────── backoff ◄──────┘        close() leads from every state to draining or closed
 *
 * `idle` is also where a link rests that is not to reconnect, until the next call.
 */
export type LinkState = 'idle' | 'connecting' | 'ready' | 'backoff' | 'draining' | 'closed';

export const LEGAL_MOVES: Readonly<Record<LinkState, readonly LinkState[]>> = {
  idle: ['connecting', 'draining', 'closed'],
  connecting: ['ready', 'backoff', 'idle', 'draining', 'closed'],
  ready: ['connecting', 'backoff', 'idle', 'draining', 'closed'],
  backoff: ['connecting', 'idle', 'draining', 'closed'],
  draining: ['closed'],
  closed: [],
};
