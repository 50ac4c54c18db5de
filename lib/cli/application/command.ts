import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { endpointLabel } from '../../options/endpoint.js';
import { ExitCode, oneOf, UsageError, type CommandIo } from '../command.js';
import { parseEndpoint } from '../endpoint.js';
import { runClientApplication } from './client.js';
import { makeServerApplication } from './server.js';

export const APPLICATION_HELP = `Usage: nestjs-unix-socket conformance-app <endpoint> [options]

The conformance application of this package, to see what the kit has to say when all is well.

  --role server    (default) listens at <endpoint>, until it is stopped
  --role client    connects to the kit at <endpoint>, until the kit is done
  --protocol auto  (default) both versions of the protocol
  --protocol v1    the first one alone, as level v1 asks of a client
  --protocol v2    the second one alone`;

const ROLES = ['server', 'client'] as const;
const PROTOCOLS = ['auto', 'v1', 'v2'] as const;

/** `conformance-app`. @throws UsageError */
export async function applicationCommand(args: readonly string[], io: CommandIo): Promise<ExitCode> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      role: { type: 'string', default: 'server' },
      protocol: { type: 'string', default: 'auto' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    io.print(APPLICATION_HELP);
    return ExitCode.Passed;
  }
  const role = oneOf('role', ROLES, values.role);
  const protocol = oneOf('protocol', PROTOCOLS, values.protocol);
  const [text, ...others] = positionals;
  if (text === undefined || others.length > 0) throw new UsageError('One endpoint is needed');
  const endpoint = parseEndpoint(text);
  if (role === 'client') {
    await runClientApplication({ ...endpoint, protocol }, io.signal);
    return ExitCode.Passed;
  }
  const protocols = protocol === 'auto' ? {} : { protocols: [protocol] };
  const server = makeServerApplication({ ...endpoint, ...protocols });
  await server.listen();
  io.print(`Listening at ${endpointLabel(server.endpoint)}`);
  if (!io.signal.aborted) await once(io.signal, 'abort');
  await server.close();
  return ExitCode.Passed;
}
