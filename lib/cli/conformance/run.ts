import type { PathEndpoint, TcpEndpoint } from '../../options/endpoint.js';
import { ClientBench } from './client-bench.js';
import { CLIENT_COMPACT_RULES } from './client-compact-rules.js';
import { CLIENT_FULL_RULES } from './client-full-rules.js';
import { CLIENT_RULES, CLIENT_V1_RULES } from './client-rules.js';
import { clientVectorRules } from './client-vectors.js';
import { V1, V2 } from './dialect.js';
import { ServerBench } from './server-bench.js';
import { SERVER_COMPACT_RULES } from './server-compact-rules.js';
import { SERVER_FULL_RULES } from './server-full-rules.js';
import { SERVER_RULES } from './server-rules.js';
import { SERVER_V1_RULES } from './server-v1-rules.js';
import { serverVectorRules } from './server-vectors.js';
import { judge, PeerAbsent, type Level, type Role, type Rule, type Verdict } from './verdict.js';

export interface ConformanceOptions {
  /** A path or `host:port`. */
  readonly endpoint: PathEndpoint | TcpEndpoint;
  /** Which side the implementation under test plays. */
  readonly role: Role;
  readonly level: Level;
  /** Only these; all of the level if empty. */
  readonly rules: readonly string[];
  /** How long each single thing may take. */
  readonly timeoutMs: number;
  /** How long the first connection of a client may take. */
  readonly attendTimeoutMs: number;
}

type Tell = (verdict: Verdict) => void;

/**
 * Judges the implementation at the endpoint, rule by rule.
 * @throws PeerAbsent if there is none
 */
export function runConformance(options: ConformanceOptions, tell: Tell): Promise<Verdict[]> {
  return options.role === 'server' ? judgeServer(options, tell) : judgeClient(options, tell);
}

/** Every rule that the kit can judge. */
export function knownRules(role: Role): readonly Rule<never>[] {
  return role === 'server' ? allServerRules() : allClientRules();
}

function allServerRules(): Rule<ServerBench>[] {
  return inOrder([
    ...SERVER_RULES,
    ...serverVectorRules(),
    ...SERVER_FULL_RULES,
    ...SERVER_COMPACT_RULES,
    ...SERVER_V1_RULES,
  ]);
}

function allClientRules(): Rule<ClientBench>[] {
  return inOrder([
    ...CLIENT_RULES,
    ...clientVectorRules(),
    ...CLIENT_FULL_RULES,
    ...CLIENT_COMPACT_RULES,
    ...CLIENT_V1_RULES,
  ]);
}

async function judgeServer(options: ConformanceOptions, tell: Tell): Promise<Verdict[]> {
  const bench = new ServerBench(options.endpoint, options.timeoutMs);
  await bench.open();
  bench.closeConnections();
  return judgeAll(chosen(allServerRules(), options), bench, tell, () => bench.closeConnections());
}

async function judgeClient(options: ConformanceOptions, tell: Tell): Promise<Verdict[]> {
  const dialect = options.level === 'v1' ? V1 : V2;
  const bench = await ClientBench.listen(options.endpoint, dialect, options.timeoutMs);
  try {
    await bench.attend(options.attendTimeoutMs);
    return await judgeAll(chosen(allClientRules(), options), bench, tell, (isKept) => {
      if (!isKept) bench.reset();
    });
  } finally {
    await bench.close();
  }
}

async function judgeAll<Bench>(
  rules: readonly Rule<Bench>[],
  bench: Bench,
  tell: Tell,
  tidy: (isKept: boolean) => void,
): Promise<Verdict[]> {
  const verdicts: Verdict[] = [];
  let absence: string | undefined;
  for (const rule of rules) {
    const { id, level, summary } = rule;
    let verdict: Verdict = { rule: id, level, summary, status: 'skipped', reason: absence ?? '' };
    if (absence === undefined) {
      try {
        verdict = await judge(rule, bench);
      } catch (error) {
        if (!(error instanceof PeerAbsent)) throw error;
        // Whoever is gone after this rule was there before it.
        verdict = {
          rule: id,
          level,
          summary,
          status: 'failed',
          expected: 'a peer that lives on',
          got: error.message,
        };
        absence = `the peer was gone after ${id}`;
      }
    }
    tidy(verdict.status === 'passed');
    verdicts.push(verdict);
    tell(verdict);
  }
  return verdicts;
}

/** Those of the level, and if some are named, only these. */
function chosen<Bench>(rules: Rule<Bench>[], { level, rules: names }: ConformanceOptions): Rule<Bench>[] {
  const ofLevel = rules.filter((rule) => rule.level === level || (level === 'full' && rule.level === 'v2'));
  return names.length === 0 ? ofLevel : ofLevel.filter(({ id }) => names.includes(id));
}

const LEVELS: readonly Level[] = ['v2', 'full', 'v1'];

/** By level and family, as docs/wire.md has them. */
function inOrder<Bench>(rules: Rule<Bench>[]): Rule<Bench>[] {
  const families = [...new Set(rules.map(familyOf))];
  const placeOf = (rule: Rule<Bench>): number =>
    LEVELS.indexOf(rule.level) * families.length + families.indexOf(familyOf(rule));
  return rules.sort((one, other) => placeOf(one) - placeOf(other));
}

function familyOf({ id }: { readonly id: string }): string {
  return id.split('/', 1)[0] ?? id;
}
