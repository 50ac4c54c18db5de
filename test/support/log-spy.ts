import type { INestApplicationContext, LoggerService } from '@nestjs/common';

/** What was logged, as `level message`, of one Nest application. */
export class LogSpy implements LoggerService {
  readonly lines: string[] = [];

  log = (message: unknown): void => this.note('log', message);
  warn = (message: unknown): void => this.note('warn', message);
  error = (message: unknown): void => this.note('error', message);
  debug = (message: unknown): void => this.note('debug', message);
  verbose = (message: unknown): void => this.note('verbose', message);
  fatal = (message: unknown): void => this.note('fatal', message);

  /** From now on everything of this process is logged here: Nest has one logger. */
  static over(app: INestApplicationContext): LogSpy {
    const spy = new LogSpy();
    app.useLogger(spy);
    return spy;
  }

  /** The lines that hold `text`, but for those of the debug level. */
  about(text: string): string[] {
    return this.lines.filter((line) => line.includes(text) && !line.startsWith('debug'));
  }

  private note(level: string, message: unknown): void {
    this.lines.push(`${level} ${message instanceof Error ? message.message : String(message)}`);
  }
}
