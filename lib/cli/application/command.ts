import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { endpointLabel } from '../../options/endpoint.js';
import { ExitCode, UsageError, type CommandIo } from '../command.js';
import { parseEndpoint } from '../endpoint.js';
import { runClientApplication } from './client.js';
import { makeServerApplication } from './server.js';

export const APPLICATION_HELP = `Usage: nestjs-unix-socket conformance-app <endpoint> [--role server|client]

The conformance application of this package, to see what the kit has to say when all is well.

  --role server    (default) listens at <endpoint>, until it is stopped
  --role client    connects to the kit at <endpoint>, until the kit is done`;

/** `conformance-app`. @throws UsageError */
export async function applicationCommand(args: readonly string[], io: CommandIo): Promise<ExitCode> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      role: { type: 'string', default: 'server' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    io.print(APPLICATION_HELP);
    return ExitCode.Passed;
  }
  const [text, ...others] = positionals;
  if (text === undefined || others.length > 0) throw new UsageError('One endpoint is needed');
  const endpoint = parseEndpoint(text);
  if (values.role === 'client') {
    await runClientApplication(endpoint, io.signal);
    return ExitCode.Passed;
  }
  if (values.role !== 'server') throw new UsageError('--role is server or client');
  const server = makeServerApplication(endpoint);
  await server.listen();
  io.print(`Listening at ${endpointLabel(server.endpoint)}`);
  if (!io.signal.aborted) await once(io.signal, 'abort');
  await server.close();
  return ExitCode.Passed;
}
