import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { SocketServer } from 'nestjs-unix-socket';
import { ExitCode } from '../../../lib/cli/command.js';
import { knownRules } from '../../../lib/cli/conformance/run.js';
import { readVectors, VECTOR_RULES } from '../../../lib/cli/conformance/vectors.js';
import type { Level, Role } from '../../../lib/cli/conformance/verdict.js';
import { runCli } from '../../../lib/cli/run-cli.js';
import { atEnd } from '../../support/at-end.js';
import { FaultyClient } from '../../support/conformance/faulty-client.js';
import { FaultyServer } from '../../support/conformance/faulty-server.js';
import { thoroughly } from '../../support/thoroughly.js';
import { tempSocketPath } from '../../support/temp-paths.js';

/** Long for a peer that does what it should, and what each fault that is a silence costs. */
const TIMEOUT_MS = 300;
const SIDE_BY_SIDE = 8;
/** Later than a call may fail whose connection is lost. */
const LATE_MS = 2 * TIMEOUT_MS + 1_500;

interface Outcome {
  readonly code: number;
  readonly output: string;
  readonly complaints: string;
}

async function cli(...argv: string[]): Promise<Outcome> {
  const lines: string[] = [];
  const complaints: string[] = [];
  const code = await runCli(argv, {
    print: (line) => lines.push(line),
    complain: (line) => complaints.push(line),
    signal: new AbortController().signal,
  });
  return { code, output: lines.join('\n'), complaints: complaints.join('\n') };
}

interface Summary {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly verdicts: readonly { rule: string; status: string; expected?: string; receivedHex?: string }[];
}

type Judgement = Summary & { readonly code: number };

async function judged(endpoint: string, role: Role, level: Level, rules: string[] = []): Promise<Judgement> {
  const args = ['--role', role, '--level', level, '--timeout-ms', String(TIMEOUT_MS), '--json'];
  const { code, output } = await cli(
    'conformance',
    endpoint,
    ...args,
    ...rules.flatMap((id) => ['--rule', id]),
  );
  return { code, ...(JSON.parse(output) as Summary) };
}

/** These cost more time than all others together: in the run of another fault they are left out. */
const COSTLY = ['framing/large', 'framing/split', 'body/depth'];

function rulesBeside(fault: string | undefined, role: Role): string[] {
  const ids = knownRules(role).map(({ id }) => id);
  return fault === undefined ? [] : [...new Set(ids)].filter((id) => id === fault || !COSTLY.includes(id));
}

function notPassed({ verdicts }: Summary): string[] {
  return verdicts.filter(({ status }) => status !== 'passed').map(({ rule }) => rule);
}

async function judgeServer(fault: string | undefined, level: Level): Promise<Judgement> {
  const path = tempSocketPath();
  const server = await new FaultyServer(fault).listen({ path });
  try {
    return await judged(path, 'server', level, rulesBeside(fault, 'server'));
  } finally {
    await server.close();
  }
}

async function judgeClient(fault: string | undefined, level: Level): Promise<Judgement> {
  const path = tempSocketPath();
  const verdict = judged(path, 'client', level, rulesBeside(fault, 'client'));
  const client = new FaultyClient({ path }, fault, level === 'v1' ? 'v1' : 'v2', LATE_MS);
  try {
    return await verdict;
  } finally {
    client.close();
  }
}

const PEERS = { server: judgeServer, client: judgeClient };
const ROLES: readonly Role[] = ['server', 'client'];
const LEVELS: readonly Level[] = ['v1', 'v2', 'full'];

describe.each(ROLES)('a %s made by hand', (role) => {
  it.each(LEVELS)('that keeps every rule of level %s passes', async (level) => {
    const outcome = await PEERS[role](undefined, level);
    expect(notPassed(outcome)).toEqual([]);
    expect(outcome).toMatchObject({ code: ExitCode.Passed, failed: 0, skipped: 0 });
  });

  it.each(LEVELS)(
    'that breaks one rule of level %s is told exactly this one',
    async (level) => {
      // Everyday, some of all, others each day.
      const today = Math.floor(Date.now() / 86_400_000);
      const rules = knownRules(role)
        .filter((rule) => rule.level === level)
        .filter((_, index) => (index + today) % thoroughly(1, 3) === 0);
      expect(rules).not.toEqual([]);
      // Waiting is most of a run that finds a silence, so some wait side by side; a wrong one is named all the same.
      const told: object[] = [];
      const left = [...rules];
      const work = async (): Promise<void> => {
        for (let rule = left.shift(); rule !== undefined; rule = left.shift()) {
          const { id } = rule;
          const outcome = await PEERS[role](id, level);
          told[rules.indexOf(rule)] = { broken: id, told: notPassed(outcome), code: outcome.code };
        }
      };
      await Promise.all(Array.from({ length: SIDE_BY_SIDE }, work));
      expect(told).toEqual(rules.map(({ id }) => ({ broken: id, told: [id], code: ExitCode.Failed })));
    },
    30_000,
  );
});

describe('the conformance application of this package', () => {
  it.each([
    ['a path', tempSocketPath()],
    ['TCP', '127.0.0.1:0'],
  ])('keeps every rule as a server on %s', async (_where, endpoint) => {
    const started = startApplication(endpoint);
    const outcome = await judged(await started.listening, 'server', 'full');
    expect(notPassed(outcome)).toEqual([]);
    expect(outcome.passed).toBeGreaterThan(50);
    expect(await started.end()).toBe(ExitCode.Passed);
  });

  it('keeps every rule of V1 as a server of both versions', async () => {
    const started = startApplication(tempSocketPath());
    const outcome = await judged(await started.listening, 'server', 'v1');
    expect(notPassed(outcome)).toEqual([]);
    expect(outcome.passed).toBe(knownRules('server').filter(({ level }) => level === 'v1').length);
    expect(await started.end()).toBe(ExitCode.Passed);
  });

  it('keeps every rule of V1 as a client that is set to it', async () => {
    const endpoint = tempSocketPath();
    const judging = judged(endpoint, 'client', 'v1');
    const { code } = await cli('conformance-app', endpoint, '--role', 'client', '--protocol', 'v1');
    expect(code).toBe(ExitCode.Passed);
    const outcome = await judging;
    expect(notPassed(outcome)).toEqual([]);
    expect(outcome.passed).toBe(knownRules('client').filter(({ level }) => level === 'v1').length);
  });

  it.each(['a path', 'TCP'])('keeps every rule as a client on %s, and ends with the kit', async (where) => {
    const endpoint = where === 'TCP' ? await freePort() : tempSocketPath();
    const judging = judged(endpoint, 'client', 'full');
    const { code } = await cli('conformance-app', endpoint, '--role', 'client');
    expect(code).toBe(ExitCode.Passed);
    const outcome = await judging;
    expect(notPassed(outcome)).toEqual([]);
    expect(outcome.passed).toBeGreaterThan(40);
  });
});

describe('the kit', () => {
  it('shows what was expected and the bytes on both sides', async () => {
    const path = tempSocketPath();
    const server = await new FaultyServer('heartbeat/answer').listen({ path });
    atEnd(() => server.close());
    const { code, output } = await cli('conformance', path, '--rule', 'heartbeat/answer');
    expect(code).toBe(ExitCode.Failed);
    expect(output).toContain('✗ heartbeat/answer');
    expect(output).toContain('expected  request_id ""');
    expect(output).toContain('got       "beat"');
    expect(output).toMatch(/sent +000000[0-9a-f]{2} 7b226d73/);
    expect(output).toMatch(/received +000000[0-9a-f]{2} 7b226d73/);
    expect(output).toContain('"request_id":"beat"');
    expect(output).toContain('0 passed, 1 failed, 0 skipped');
  });

  it('skips what needs a handler that the application lacks, and says which', async () => {
    const path = tempSocketPath();
    const server = new SocketServer({ path });
    server.handle('echo', (data: unknown) => data);
    await server.listen();
    atEnd(() => server.close());
    const { code, output } = await cli('conformance', path, '--level', 'full', '--timeout-ms', '500');
    expect(code).toBe(ExitCode.Passed);
    expect(output).toContain('skipped   the application has no handler "slow"');
    expect(output).toContain('skipped   the application has no handler "stream"');
    expect(output).toMatch(/ 0 failed, 1\d skipped/);
  });

  it('skips what an application says it cannot do', async () => {
    const path = tempSocketPath();
    const judging = judged(path, 'client', 'full', ['stream/values']);
    const client = new FaultyClient({ path }, 'no streams', 'v2', 0);
    atEnd(() => client.close());
    expect(await judging).toMatchObject({ code: ExitCode.NotRun, skipped: 1 });
  });

  it.each([
    [['conformance'], 'One endpoint is needed'],
    [['conformance', '/tmp/a', '/tmp/b'], 'One endpoint is needed'],
    [['conformance', '/tmp/a', '--role', 'both'], '--role is one of server, client'],
    [['conformance', '/tmp/a', '--level', 'v3'], '--level is one of v1, v2, full'],
    [['conformance', '/tmp/a', '--rule', 'no/such'], 'No rule of a server is called "no/such"'],
    [['conformance', '/tmp/a', '--timeout-ms', 'soon'], '--timeout-ms needs a whole number'],
    [['conformance', '/tmp/a', '--wrong'], "Unknown option '--wrong'"],
    [['conformance', '127.0.0.1:99999'], 'port'],
    [['conformance', tempSocketPath()], 'Nobody to connect to'],
    [['conformance', join(tempSocketPath(), 'deep'), '--role', 'client'], 'Cannot listen'],
    [['conformance-app'], 'One endpoint is needed'],
    [['conformance-app', '/tmp/a', '--role', 'both'], '--role is one of server, client'],
    [['conformance-app', '/tmp/a', '--protocol', 'v3'], '--protocol is one of auto, v1, v2'],
    [['conform'], 'There is no command "conform"'],
  ])('ends with 2 and a sentence on %j', async (argv, sentence) => {
    const { code, output, complaints } = await cli(...argv);
    expect({ code, complaints }).toEqual({
      code: ExitCode.NotRun,
      complaints: expect.stringContaining(sentence),
    });
    expect(output).not.toContain('passed');
  });

  it('says in its help whose role it means', async () => {
    const { code, output } = await cli('conformance', '--help');
    expect(code).toBe(ExitCode.Passed);
    expect(output).toContain('YOUR program is the client. This kit listens');
    expect((await cli()).output).toContain('Usage: nestjs-unix-socket conformance-app');
  });

  it('lists the rules of a role', async () => {
    const { output } = await cli('conformance', '--list', '--role', 'client');
    expect(output.split('\n')).toHaveLength(knownRules('client').length);
    expect(output).toContain('response/twice');
  });
});

describe('conformance/vectors.json', () => {
  it('has vectors for every rule that is tested by them, and for no other', () => {
    const { vectors } = readVectors();
    const kept = VECTOR_RULES.flatMap(({ id, roles }) => roles.map((role) => `${role} ${id}`));
    expect(new Set(vectors.map(({ role, rule }) => `${role} ${rule}`))).toEqual(new Set(kept));
  });

  it('has a name of its own for every vector of a rule', () => {
    const names = readVectors().vectors.map(({ role, rule, name }) => `${role} ${rule} ${name}`);
    expect(names).toHaveLength(new Set(names).size);
  });
});

/** `conformance-app` as a server, with the endpoint at which it listens. */
function startApplication(endpoint: string): { listening: Promise<string>; end(): Promise<number> } {
  const stop = new AbortController();
  let code: Promise<number> | undefined;
  const listening = new Promise<string>((resolve) => {
    const print = (line: string): void => resolve(line.replace('Listening at ', ''));
    code = runCli(['conformance-app', endpoint], { print, complain: print, signal: stop.signal });
  });
  const end = (): Promise<number> => {
    stop.abort();
    return code as Promise<number>;
  };
  atEnd(end);
  return { listening, end };
}

async function freePort(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return `127.0.0.1:${port}`;
}
