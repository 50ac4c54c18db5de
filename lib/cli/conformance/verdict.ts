/** Which side the implementation under test plays; the kit plays the other. */
export type Role = 'server' | 'client';

/** `full` is `v2` and the extensions. */
export type Level = 'v1' | 'v2' | 'full';

/** One promise of the protocol, and how it is put to the test. `Bench` is the other side, played by the kit. */
export interface Rule<Bench> {
  /** As in docs/wire.md. */
  readonly id: string;
  readonly level: Level;
  /** What a peer that keeps the rule does. */
  readonly summary: string;
  /** @throws RuleBroken, NotJudged */
  check(bench: Bench): Promise<void>;
}

export interface Verdict {
  readonly rule: string;
  readonly level: Level;
  readonly summary: string;
  readonly status: 'passed' | 'failed' | 'skipped';
  /** Why it was skipped. */
  readonly reason?: string;
  readonly expected?: string;
  readonly got?: string;
  /** The bytes that led to it. */
  readonly sent?: Buffer;
  /** The frame that is wrong, if there is one. */
  readonly received?: Buffer;
}

/** The peer does not do what the rule says. */
export class RuleBroken extends Error {
  constructor(
    readonly expected: string,
    readonly got: string,
    readonly sent?: Buffer,
    readonly received?: Buffer,
  ) {
    super(`Expected ${expected}, got ${got}`);
  }
}

/** The rule cannot be judged here, for example because the application lacks a handler. */
export class NotJudged extends Error {}

/** There is nobody to judge any more. */
export class PeerAbsent extends Error {}

export async function judge<Bench>(rule: Rule<Bench>, bench: Bench): Promise<Verdict> {
  const { id, level, summary } = rule;
  const verdict = { rule: id, level, summary };
  try {
    await rule.check(bench);
    return { ...verdict, status: 'passed' };
  } catch (error) {
    if (error instanceof NotJudged) return { ...verdict, status: 'skipped', reason: error.message };
    if (!(error instanceof RuleBroken)) throw error;
    const { expected, got, sent, received } = error;
    return {
      ...verdict,
      status: 'failed',
      expected,
      got,
      ...(sent === undefined ? {} : { sent }),
      ...(received === undefined ? {} : { received }),
    };
  }
}
