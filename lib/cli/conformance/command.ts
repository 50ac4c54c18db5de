import { parseArgs } from 'node:util';
import { endpointLabel } from '../../options/endpoint.js';
import { ExitCode, oneOf, UsageError, type CommandIo } from '../command.js';
import { countVerdicts, formatSummary, formatVerdict, toJson } from './report.js';
import { parseEndpoint } from '../endpoint.js';
import { knownRules, runConformance } from './run.js';
import { readVectors } from './vectors.js';
import { PeerAbsent, type Level, type Role } from './verdict.js';

export const CONFORMANCE_HELP = `Usage: nestjs-unix-socket conformance <endpoint> [options]

Judges an implementation of the protocol, rule by rule. It has to run the conformance
application, which docs/conformance.md describes and "conformance-app" is an example of.

<endpoint> is the path of a Unix socket, or host:port.

  --role server    (default) YOUR program is the server. It listens at <endpoint>;
                   this kit connects to it as a client.
  --role client    YOUR program is the client. This kit listens at <endpoint>;
                   start your program once it says so.
  --level v2       (default) the base protocol
  --level full     the base protocol and the extensions
  --level v1       the first version of the protocol
  --rule <name>    only this rule; may be given several times
  --timeout-ms <n> how long each single thing may take, 2000 by default
  --json           one JSON object instead of text
  --list           the rules, without judging anybody

Ends with 0 if no rule is broken, 1 if one is, 2 if nothing could be judged.`;

const ROLES: readonly Role[] = ['server', 'client'];
const LEVELS: readonly Level[] = ['v1', 'v2', 'full'];
const DEFAULT_TIMEOUT_MS = 2_000;
/** Somebody has to start the client by hand. */
const ATTEND_TIMEOUT_MS = 60_000;

/** `conformance`. @throws UsageError */
export async function conformanceCommand(args: readonly string[], io: CommandIo): Promise<ExitCode> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      role: { type: 'string', default: 'server' },
      level: { type: 'string', default: 'v2' },
      rule: { type: 'string', multiple: true, default: [] },
      'timeout-ms': { type: 'string', default: String(DEFAULT_TIMEOUT_MS) },
      json: { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    io.print(CONFORMANCE_HELP);
    return ExitCode.Passed;
  }
  const role = oneOf('role', ROLES, values.role);
  const level = oneOf('level', LEVELS, values.level);
  const known = knownRules(role);
  if (values.list) {
    for (const rule of known) io.print(`${rule.level.padEnd(5)} ${rule.id.padEnd(24)} ${rule.summary}`);
    return ExitCode.Passed;
  }
  for (const name of values.rule) {
    if (!known.some(({ id }) => id === name)) {
      throw new UsageError(`No rule of a ${role} is called "${name}"; --list shows them`);
    }
  }
  const [text, ...others] = positionals;
  if (text === undefined || others.length > 0) throw new UsageError('One endpoint is needed');
  const timeoutMs = Number(values['timeout-ms']);
  if (!Number.isInteger(timeoutMs) || timeoutMs < 1) {
    throw new UsageError('--timeout-ms needs a whole number of milliseconds');
  }

  const endpoint = parseEndpoint(text);
  const say = (line: string): void => (values.json ? undefined : io.print(line));
  const { wire } = readVectors();
  const setting = { endpoint: endpointLabel(endpoint), role, level, wire };
  say(
    role === 'server'
      ? `Judging the server at ${setting.endpoint}, level ${level}, wire ${wire}`
      : `Listening at ${setting.endpoint} for the client to be judged, level ${level}, wire ${wire}`,
  );
  try {
    const verdicts = await runConformance(
      { endpoint, role, level, rules: values.rule, timeoutMs, attendTimeoutMs: ATTEND_TIMEOUT_MS },
      (verdict) => say(formatVerdict(verdict)),
    );
    const counts = countVerdicts(verdicts);
    say(`\n${formatSummary(verdicts)}`);
    if (values.json) io.print(JSON.stringify({ ...setting, ...counts, verdicts: verdicts.map(toJson) }));
    if (counts.failed > 0) return ExitCode.Failed;
    return counts.passed > 0 ? ExitCode.Passed : ExitCode.NotRun;
  } catch (error) {
    if (!(error instanceof PeerAbsent)) throw error;
    io.complain(error.message);
    return ExitCode.NotRun;
  }
}
