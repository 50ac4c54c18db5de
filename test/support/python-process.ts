import { spawn, spawnSync, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** What JSON can carry. The driver shows Python bytes as `{ __bytes__: hex }`. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Data to send: as given, a Python value by its name in `values.py`, or a text of `fill` characters. */
interface ChosenData {
  data?: Json;
  named?: string;
  fill?: number;
}

/** A frame as the peer read it; `extra` holds the keys beyond the five of the protocol. */
export interface ReceivedFrame {
  msg_type: string;
  request_id: Json;
  data: Json;
  timestamp: Json;
  error: Json;
  extra: Record<string, Json>;
}

export interface RequestAnswer {
  /** What the original API returns: null for a failure of any kind. Left out when `brief`. */
  result: Json;
  /** The whole response, also a failed one; without `data` when `brief`. Null when none came. */
  response: ReceivedFrame | null;
  /** Why no response came: `timeout`, or the text of the Python exception. */
  failure: string | null;
  /** Whether the response's data equals the data sent, compared as Python values, so exactly. */
  same: boolean;
  elapsed_ms: number;
}

interface Command<Args, Result> {
  args: Args;
  result: Result;
}

type NoArgs = Record<string, never>;

/** The methods of `ClientCommands` in `driver_client.py`. Times without a unit in their name are seconds. */
interface ClientCommands {
  connect: Command<{ retry_interval?: number; max_retries?: number }, { connected: boolean }>;
  request: Command<ChosenData & { type: Json; timeout?: number; brief?: boolean }, RequestAnswer>;
  request_many: Command<
    { type: Json; n?: number; items?: Json[]; timeout?: number; brief?: boolean },
    {
      answers: RequestAnswer[];
      order: number[];
      same: number;
      failures: number;
      errors: number;
      elapsed_ms: number;
    }
  >;
  pushes: Command<{ clear?: boolean }, { type: Json; data: Json }[]>;
  frames: Command<{ msg_type?: string }, ReceivedFrame[]>;
  heartbeat: Command<{ wait_ms?: number }, { sent: boolean; answered_after_ms: number | null }>;
  send_raw: Command<
    { hex: string; wait_ms?: number; fresh?: boolean },
    { frames: ReceivedFrame[]; closed: boolean }
  >;
  half_close: Command<
    ChosenData & { type: Json; timeout?: number },
    { greeting: ReceivedFrame | null; response: ReceivedFrame | null; closed: boolean }
  >;
  health_check: Command<NoArgs, boolean>;
  start_auto_reconnect: Command<NoArgs, null>;
  stop_auto_reconnect: Command<NoArgs, null>;
  stats: Command<
    NoArgs,
    {
      api: Record<string, Json>;
      connected: boolean;
      connects: number;
      disconnects: number;
      frames: Record<string, number>;
      pushes: number;
    }
  >;
  disconnect: Command<{ keep_reconnecting?: boolean }, { connected: boolean }>;
  exit: Command<NoArgs, null>;
}

/** A frame that a client sent; `type` and `data` are those inside a request or push. */
export interface SentFrame {
  conn_id: string;
  msg_type: string;
  request_id: Json;
  type: Json;
  data: Json;
  extra: Record<string, Json>;
}

/** The methods of `ServerCommands` in `driver_server.py`. */
interface ServerCommands {
  start: Command<NoArgs, { address: string }>;
  stop: Command<{ waits?: boolean }, null>;
  push: Command<ChosenData & { type: Json; times?: number }, { sent: number }>;
  heartbeat: Command<NoArgs, { sent: boolean }>;
  send_raw: Command<{ hex: string }, { connections: number }>;
  drop: Command<NoArgs, { dropped: number }>;
  received: Command<{ msg_type?: string | null; clear?: boolean }, SentFrame[]>;
  stats: Command<NoArgs, { api: Record<string, Json>; frames: Record<string, number> }>;
  exit: Command<NoArgs, null>;
}

interface Commands {
  client: ClientCommands;
  server: ServerCommands;
}

/** Arguments of the Python constructors that tests want to set; times in seconds. */
interface Options {
  client: {
    account_id?: string;
    auto_reconnect?: boolean;
    reconnect_interval?: number;
    max_reconnect_attempts?: number;
    heartbeat_interval?: number;
    request_timeout?: number;
    look_interval?: number;
  };
  server: {
    account_id?: string;
    enable_health_check?: boolean;
    heartbeat_timeout?: number;
    look_interval?: number;
    stop_waits?: boolean;
  };
}

type Role = keyof Commands;
type Args<R extends Role, N extends keyof Commands[R]> =
  Commands[R][N] extends Command<infer A, unknown> ? A : never;
type Result<R extends Role, N extends keyof Commands[R]> =
  Commands[R][N] extends Command<unknown, infer A> ? A : never;

/**
 * Something that happened by itself. A client tells `connect`, `disconnect`, `push` (`type`, `data`) and
 * `heartbeat`; a server `connect` and `disconnect` (`conn_id`) and every frame it read under the frame's
 * `msg_type` (`conn_id`, `type`).
 */
export interface PythonEvent {
  event: 'ready' | 'connect' | 'disconnect' | 'push' | 'heartbeat' | 'request' | 'response' | 'error';
  type?: Json;
  data?: Json;
  conn_id?: string;
  pid?: number;
  python?: string;
}

interface Waiter {
  isMet(): boolean;
  resolve(): void;
  reject(error: Error): void;
}

interface PendingCommand {
  resolve(result: unknown): void;
  reject(error: Error): void;
}

const DRIVER = join(__dirname, 'python', 'driver.py');
const WAIT_MS = 5_000;
const STOP_MS = 3_000;

let foundPython: { readonly path: string | undefined } | undefined;

/** The interpreter's own path (not a launcher's), or undefined without a Python 3.10 or newer. */
export function findPython(): string | undefined {
  foundPython ??= { path: lookForPython() };
  return foundPython.path;
}

function lookForPython(): string | undefined {
  const script = 'import sys; print(sys.executable if sys.version_info >= (3, 10) else "")';
  const { status, stdout } = spawnSync('python3', ['-c', script], { encoding: 'utf8' });
  return (status === 0 && stdout.trim()) || undefined;
}

/** A Python peer in a process of its own, see `python/driver.py`. Always end it with `stop()`. */
export class PythonProcess<R extends Role> {
  /** Every event so far, in order. */
  readonly events: PythonEvent[] = [];

  private readonly child: ChildProcessWithoutNullStreams;
  private readonly closed: Promise<void>;
  private readonly pending = new Map<number, PendingCommand>();
  private readonly waiters = new Set<Waiter>();
  private lastId = 0;
  private stderr = '';
  private ended: Error | undefined;
  private stopping: Promise<void> | undefined;

  /** Starts the process and waits until it takes commands. It does not connect or listen by itself. */
  static async start<R extends Role>(
    role: R,
    endpoint: string,
    options: Options[R] = {},
  ): Promise<PythonProcess<R>> {
    const python = findPython();
    if (python === undefined) throw new Error('no python3 of version 3.10 or newer on the PATH');
    const started = new PythonProcess<R>(python, [DRIVER, role, endpoint, JSON.stringify(options)]);
    try {
      await started.waitFor('ready');
    } catch (error) {
      await started.stop();
      throw error;
    }
    return started;
  }

  private constructor(python: string, args: string[]) {
    this.child = spawn(python, args, { stdio: 'pipe' });
    this.child.stderr.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    // Writing to a process that died is not the news; its end is, and that comes with `close`.
    this.child.stdin.on('error', () => undefined);
    createInterface({ input: this.child.stdout }).on('line', (line) => this.onLine(line));
    this.closed = new Promise((resolve) => {
      this.child.once('error', (error) => this.onEnd(error.message));
      this.child.once('close', (code, signal) => {
        this.onEnd(`ended with ${signal ?? `code ${code}`}`);
        resolve();
      });
    });
  }

  command<N extends keyof Commands[R] & string>(
    name: N,
    ...rest: NoArgs extends Args<R, N> ? [args?: Args<R, N>] : [args: Args<R, N>]
  ): Promise<Result<R, N>> {
    const id = ++this.lastId;
    const answer = new Promise<unknown>((resolve, reject) => {
      if (this.ended !== undefined) return reject(this.ended);
      this.pending.set(id, { resolve, reject });
      this.child.stdin.write(`${JSON.stringify({ id, command: name, args: rest[0] ?? {} })}\n`);
    });
    // A test may leave a command unawaited and stop the process; that must not bring down the test run.
    answer.catch(() => undefined);
    return answer as Promise<Result<R, N>>;
  }

  /**
   * The `count`-th event of this name, counted from the start of the process: one that came before this call
   * counts, so nothing is missed between a command and the wait.
   */
  async waitFor(
    name: PythonEvent['event'],
    {
      count = 1,
      where = () => true,
      timeoutMs = WAIT_MS,
    }: { count?: number; where?: (event: PythonEvent) => boolean; timeoutMs?: number } = {},
  ): Promise<PythonEvent> {
    const matching = (): PythonEvent[] => this.events.filter((seen) => seen.event === name && where(seen));
    let timer: NodeJS.Timeout | undefined;
    let waiter: Waiter | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        waiter = { isMet: () => matching().length >= count, resolve, reject };
        if (waiter.isMet()) return resolve();
        if (this.ended !== undefined) return reject(this.ended);
        this.waiters.add(waiter);
        timer = setTimeout(
          () => reject(new Error(`${matching().length} of ${count} "${name}" events within ${timeoutMs} ms`)),
          timeoutMs,
        );
      });
    } finally {
      clearTimeout(timer);
      if (waiter !== undefined) this.waiters.delete(waiter);
    }
    return matching()[count - 1]!;
  }

  /** Ends the process, by force if need be. Resolves when it and its streams are gone. */
  stop(): Promise<void> {
    this.stopping ??= this.end();
    return this.stopping;
  }

  private async end(): Promise<void> {
    this.child.stdin.end(); // the driver ends itself when its input does
    const force = setTimeout(() => this.child.kill('SIGKILL'), STOP_MS);
    await this.closed;
    clearTimeout(force);
  }

  private onLine(line: string): void {
    const message = JSON.parse(line) as PythonEvent | { id: number; result?: unknown; error?: string };
    if ('event' in message) {
      this.events.push(message);
      for (const waiter of this.waiters) if (waiter.isMet()) waiter.resolve();
      return;
    }
    const command = this.pending.get(message.id);
    this.pending.delete(message.id);
    if (message.error === undefined) command?.resolve(message.result);
    else command?.reject(new Error(message.error));
  }

  private onEnd(reason: string): void {
    const stderr = this.stderr.trim();
    this.ended ??= new Error(`the Python process ${reason}${stderr && `\n${stderr}`}`);
    for (const { reject } of [...this.pending.values(), ...this.waiters]) reject(this.ended);
    this.pending.clear();
  }
}
