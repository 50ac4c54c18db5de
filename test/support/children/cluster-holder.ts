import cluster, { type Worker } from 'node:cluster';
import { once } from 'node:events';
import { PathHolder } from './path-holder.js';
import { readOptions, takeOrders } from './commands.js';

/** A cluster whose workers share one path. */
const { path, policy } = readOptions<{ path: string; policy: 'rr' | 'none' }>();

const workers = new Map<number, Worker>();

async function startWorker(): Promise<number> {
  const worker = cluster.fork();
  const [outcome] = (await once(worker, 'message')) as [{ error?: string }];
  if (outcome.error !== undefined) throw new Error(outcome.error);
  const pid = worker.process.pid as number;
  workers.set(pid, worker);
  return pid;
}

async function gone(pid: number, action: (worker: Worker) => unknown): Promise<void> {
  const worker = workers.get(pid) as Worker;
  workers.delete(pid);
  const exit = once(worker, 'exit');
  action(worker);
  await exit;
}

export const commands = {
  start: ({ count }: { count: number }): Promise<number[]> =>
    Promise.all(Array.from({ length: count }, startWorker)),
  /** Lets them close, all at once, as a worker does that ends in good order. */
  close: async ({ pids }: { pids: number[] }): Promise<void> => {
    await Promise.all(pids.map((pid) => gone(pid, (worker) => worker.send('close'))));
  },
  kill: ({ pid }: { pid: number }): Promise<void> => gone(pid, (worker) => worker.process.kill('SIGKILL')),
};

async function work(): Promise<void> {
  const holder = new PathHolder(String(process.pid));
  process.on('message', () => void holder.close().then(() => process.exit()));
  try {
    await holder.claim(path, { watchIntervalMs: 10 });
    process.send?.({});
  } catch (error) {
    process.send?.({ error: String(error) });
  }
}

if (cluster.isPrimary) {
  cluster.schedulingPolicy = policy === 'rr' ? cluster.SCHED_RR : cluster.SCHED_NONE;
  process.on('exit', () => workers.forEach((worker) => worker.process.kill('SIGKILL')));
  takeOrders(commands);
} else {
  void work();
}
