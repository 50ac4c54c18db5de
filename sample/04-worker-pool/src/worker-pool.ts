import { UnixSocketError, type ClientConnection, type UnixSocketServer } from 'nestjs-unix-socket';
import { finalize, from, switchMap, take, type Observable } from 'rxjs';
import type { Job, Progress, Result } from './jobs.js';
import { say } from './narrator.js';

/** Jobs that may take long are given so much time, unless they say otherwise. */
const JOB_TIMEOUT_MS = 30_000;

/** The workers that are connected, each with one job at a time. */
export class WorkerPool {
  private readonly free: ClientConnection[] = [];
  private readonly all = new Set<ClientConnection>();
  private waiting: ((worker: ClientConnection) => void)[] = [];
  private onChange: () => void = () => undefined;

  constructor(private readonly server: UnixSocketServer) {
    server.on('callable', (connection) => {
      say('pool', `${nameOf(connection)} takes calls, on connection ${connection.id}`);
      this.all.add(connection);
      this.release(connection);
      this.onChange();
    });
    server.on('disconnect', (connection) => {
      if (!this.all.delete(connection)) return;
      say('pool', `${nameOf(connection)} has gone`);
      const index = this.free.indexOf(connection);
      if (index >= 0) this.free.splice(index, 1);
    });
  }

  /** Resolves once there are so many workers. */
  async size(count: number): Promise<void> {
    while (this.all.size < count) await new Promise<void>((resolve) => (this.onChange = resolve));
  }

  /**
   * Gives the job to the next free worker. When that one is lost the job may have been done, which nobody knows: counting twice does
   * no harm, so it goes to another.
   */
  async run(job: Job, onGiven?: (worker: string) => void): Promise<Result & { attempts: number }> {
    const options = { timeoutMs: job.timeoutMs ?? JOB_TIMEOUT_MS };
    for (let attempts = 1; ; attempts++) {
      const worker = await this.take();
      try {
        const answer = worker.request<Result>('primes', job, options);
        if (attempts === 1) onGiven?.(nameOf(worker));
        return { ...(await answer), attempts };
      } catch (error) {
        const isLost = error instanceof UnixSocketError && !worker.isConnected;
        if (!isLost) throw error;
        say('pool', `${job.name} was lost with ${nameOf(worker)} (${error.code}, ${error.delivery ?? ''})`);
      } finally {
        this.release(worker);
      }
    }
  }

  /** So many reports of one worker's progress; then it is told to stop. */
  watch(job: Job, reports: number): Observable<Progress> {
    return from(this.take()).pipe(
      switchMap((worker) =>
        this.server.stream<Progress>(worker, 'survey', job).pipe(
          take(reports),
          finalize(() => this.release(worker)),
        ),
      ),
    );
  }

  private take(): Promise<ClientConnection> {
    const worker = this.free.shift();
    return worker === undefined
      ? new Promise((resolve) => this.waiting.push(resolve))
      : Promise.resolve(worker);
  }

  private release(worker: ClientConnection): void {
    if (!this.all.has(worker)) return;
    const next = this.waiting.shift();
    if (next === undefined) this.free.push(worker);
    else next(worker);
  }
}

function nameOf(connection: ClientConnection): string {
  return connection.accountId ?? connection.id;
}
