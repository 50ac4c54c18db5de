import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import type { Commands, Report } from './children/commands.js';
import { compileSources } from './compile.js';

export interface ChildOptions {
  /** Given to the program. */
  readonly options?: object;
  /**
   * Shell commands run first in the same process, for example `ulimit -n 64`. `"$@"` is the program, which a launcher
   * may become by itself, with its own sockets as descriptors 3 and 4.
   */
  readonly shell?: string;
  readonly env?: Readonly<Record<string, string>>;
}

type Args<C extends Commands, N extends keyof C> = Parameters<C[N]>[0];
type Result<C extends Commands, N extends keyof C> = Awaited<ReturnType<C[N]>>;
type HappenedEvent = Extract<Report, { readonly event: string }>;

interface Pending {
  resolve(result: unknown): void;
  reject(error: Error): void;
}

/** For what takes no time but that of a busy machine. */
const WAIT_MS = 10_000;

/**
 * A program of `test/support/children` in a Node process of its own, which can be stopped and killed as nothing in
 * this process can. `C` is the type of its commands. Always end it with `kill()`.
 */
export class ChildProgram<C extends Commands> {
  /** Everything that happened by itself, in order. */
  readonly events: HappenedEvent[] = [];
  /** The process has ended and its streams are closed. */
  readonly ended: Promise<void>;

  private readonly child: ChildProcess;
  private readonly pending = new Map<number, Pending>();
  private readonly watchers = new Set<() => void>();
  private lastId = 0;
  private output = '';
  private end: Error | undefined;

  /** Starts the program and waits until it takes orders. */
  static async start<C extends Commands>(name: string, options: ChildOptions = {}): Promise<ChildProgram<C>> {
    const program = new ChildProgram<C>(name, options);
    try {
      await program.waitFor('ready');
    } catch (error) {
      await program.kill();
      throw error;
    }
    return program;
  }

  private constructor(name: string, { options = {}, shell = '', env }: ChildOptions) {
    const script = join(compileSources(), 'test/support/children', `${name}.js`);
    const node = [process.execPath, '--expose-gc', '--enable-source-maps', script, JSON.stringify(options)];
    // `exec` keeps the process: what the shell has set, and its pid, become those of the program.
    this.child = spawn('/bin/sh', ['-c', `${shell}\nexec "$@"`, 'sh', ...node], {
      stdio: ['ignore', 'pipe', 'pipe', 'ignore', 'ignore', 'ipc'],
      env: { ...process.env, NODE_OPTIONS: '', ...env },
      serialization: 'json',
    });
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => (this.output += text));
    this.child.on('message', (message) => this.onReport(message as Report));
    this.ended = new Promise((resolve) => {
      this.child.once('error', (error) => this.onEnd(error.message));
      this.child.once('close', (code, signal) => {
        this.onEnd(`ended with ${signal ?? `code ${code}`}`);
        resolve();
      });
    });
  }

  get pid(): number {
    return this.child.pid as number;
  }

  command<N extends keyof C & string>(
    name: N,
    ...rest: undefined extends Args<C, N> ? [args?: Args<C, N>] : [args: Args<C, N>]
  ): Promise<Result<C, N>> {
    const id = ++this.lastId;
    const answer = new Promise<unknown>((resolve, reject) => {
      if (this.end !== undefined) return reject(this.end);
      this.pending.set(id, { resolve, reject });
      this.child.send({ id, command: name, args: rest[0] }, (error) => {
        if (error !== null) reject(error);
      });
    });
    // A test may leave a command unawaited and kill the process; that must not bring down the test run.
    answer.catch(() => undefined);
    return answer as Promise<Result<C, N>>;
  }

  /** The `count`-th event of this name since the start of the process. */
  async waitFor(
    name: string,
    { count = 1, timeoutMs = WAIT_MS }: { count?: number; timeoutMs?: number } = {},
  ): Promise<HappenedEvent> {
    const matching = (): HappenedEvent[] => this.events.filter(({ event }) => event === name);
    let timer: NodeJS.Timeout | undefined;
    let watch: () => void = () => undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        watch = () => {
          if (matching().length >= count) resolve();
          else if (this.end !== undefined) reject(this.end);
        };
        timer = setTimeout(
          () => reject(new Error(`${matching().length} of ${count} "${name}" events within ${timeoutMs} ms`)),
          timeoutMs,
        );
        this.watchers.add(watch);
        watch();
      });
    } finally {
      clearTimeout(timer);
      this.watchers.delete(watch);
    }
    return matching()[count - 1] as HappenedEvent;
  }

  /** Stops the process where it is; it does not notice. */
  freeze(): void {
    this.child.kill('SIGSTOP');
  }

  /** Lets it go on. */
  thaw(): void {
    this.child.kill('SIGCONT');
  }

  kill(): Promise<void> {
    // Ends a stopped process too.
    this.child.kill('SIGKILL');
    return this.ended;
  }

  private onReport(message: Report): void {
    if ('event' in message) {
      this.events.push(message);
      for (const watch of [...this.watchers]) watch();
      return;
    }
    const pending = this.pending.get(message.id);
    this.pending.delete(message.id);
    if ('error' in message) pending?.reject(new Error(message.error));
    else pending?.resolve(message.result);
  }

  private onEnd(how: string): void {
    this.end = new Error(`The child process ${how}${this.output === '' ? '' : `:\n${this.output}`}`);
    for (const { reject } of this.pending.values()) reject(this.end);
    this.pending.clear();
    for (const watch of [...this.watchers]) watch();
  }
}
