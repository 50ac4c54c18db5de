import { CallRunner } from '../../../lib/calls/call-runner.js';
import { Session, type SessionOwner } from '../../../lib/client/session.js';
import { resolveLinkOptions, type LinkOptions } from '../../../lib/options/client-options.js';
import { ClientDialects } from '../../../lib/protocol/dialects.js';
import { atEnd } from '../../support/at-end.js';
import { tempSocketPath } from '../../support/temp-paths.js';
import { RawServer } from '../../support/wire.js';

/** A session with a server made by hand, ready. */
async function openSession({
  isUpgraded,
  heartbeat,
}: {
  isUpgraded: boolean;
  heartbeat?: LinkOptions['heartbeat'];
}) {
  const server = await RawServer.listen({ path: tempSocketPath() });
  atEnd(() => server.close());
  const session = await new Promise<Session>((resolve, reject) => {
    const owner: SessionOwner = {
      isCallable: false,
      isClosing: false,
      runner: new CallRunner<Session>(() => false),
      onServed: () => {},
      onServingError: () => {},
      onReady: resolve,
      onResponse: () => {},
      onPush: () => {},
      resumeRequest: () => undefined,
      onResumeNotice: () => false,
      onNotice: () => {},
      onClosed: (_, error) => reject(error),
    };
    const options = resolveLinkOptions({ ...(server.address as { path: string }), heartbeat });
    const made = new Session(options, new ClientDialects(options), owner);
    atEnd(() => made.end());
    server.welcome({ isUpgraded }).catch(reject);
  });
  return session;
}

describe('Session', () => {
  it.each<[string, boolean, LinkOptions['heartbeat'], number, number]>([
    ['its timeout, and 75 s while a plain server owes an answer', false, undefined, 45_000, 75_000],
    ['its timeout always, with an upgraded server', true, undefined, 45_000, 45_000],
    [
      'a timeout above 75 s also while a plain server owes an answer',
      false,
      { timeoutMs: 90_000 },
      90_000,
      90_000,
    ],
    ['for ever with a timeout of 0', false, { timeoutMs: 0 }, 0, 0],
    ['for ever without heartbeats', false, { enabled: false }, 0, 0],
  ])('lets a server be silent for %s', async (_, isUpgraded, heartbeat, idleMs, owingMs) => {
    const session = await openSession({ isUpgraded, heartbeat });
    expect(session.isUpgraded).toBe(isUpgraded);
    expect(session.silenceLimitMs()).toBe(idleMs);
    session.unanswered.add('r1');
    expect(session.silenceLimitMs()).toBe(owingMs);
    session.unanswered.delete('r1');
    expect(session.silenceLimitMs()).toBe(idleMs);
  });
});
