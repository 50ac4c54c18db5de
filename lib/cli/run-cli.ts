import { UnixSocketError } from '../errors/unix-socket.error.js';
import { APPLICATION_HELP, applicationCommand } from './application/command.js';
import { ExitCode, UsageError, type CommandIo } from './command.js';
import { CONFORMANCE_HELP, conformanceCommand } from './conformance/command.js';

const HELP = `${CONFORMANCE_HELP}\n\n${APPLICATION_HELP}`;

const COMMANDS = { conformance: conformanceCommand, 'conformance-app': applicationCommand };

/** The command line tool. Resolves with the code that the process is to end with. */
export async function runCli(argv: readonly string[], io: CommandIo): Promise<ExitCode> {
  const [name = '--help', ...args] = argv;
  if (name === '--help' || name === '-h') {
    io.print(HELP);
    return ExitCode.Passed;
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name as keyof typeof COMMANDS] : undefined;
  try {
    if (command === undefined) throw new UsageError(`There is no command "${name}"`);
    return await command(args, io);
  } catch (error) {
    if (!isMistake(error)) throw error;
    io.complain(`${error.message.replace(/\.$/, '')}. Try --help.`);
    return ExitCode.NotRun;
  }
}

/** What whoever typed the command can put right: the words, or the endpoint. */
function isMistake(error: unknown): error is Error {
  if (error instanceof UsageError || error instanceof UnixSocketError) return true;
  const { code } = error as NodeJS.ErrnoException;
  return typeof code === 'string' && /^ERR_PARSE_ARGS/.test(code);
}
