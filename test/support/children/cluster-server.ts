import cluster, { type Worker } from 'node:cluster';
import { once } from 'node:events';
import type { SocketServerOptions } from '../../../lib/options/server-options.js';
import { SocketServer } from '../../../lib/server/socket-server.js';
import { readOptions, takeOrders } from './commands.js';

/** A cluster each of whose workers runs a server at the same path. */
const { policy, ...options } = readOptions<SocketServerOptions & { policy: 'rr' | 'none' }>();

const workers = new Map<number, Worker>();

async function startWorker(): Promise<number> {
  const worker = cluster.fork();
  const [{ error }] = (await once(worker, 'message')) as [{ error?: string }];
  if (error !== undefined) throw new Error(error);
  const pid = worker.process.pid as number;
  workers.set(pid, worker);
  return pid;
}

async function untilGone(pid: number, action: (worker: Worker) => unknown): Promise<void> {
  const worker = workers.get(pid) as Worker;
  workers.delete(pid);
  const exit = once(worker, 'exit');
  action(worker);
  await exit;
}

export const commands = {
  /** The pids of as many new workers, all listening. */
  start: ({ count }: { count: number }): Promise<number[]> =>
    Promise.all(Array.from({ length: count }, startWorker)),
  /** The worker closes its server and ends in good order. */
  close: ({ pid }: { pid: number }): Promise<void> => untilGone(pid, (worker) => worker.send('close')),
  kill: ({ pid }: { pid: number }): Promise<void> =>
    untilGone(pid, (worker) => worker.process.kill('SIGKILL')),
};

async function work(): Promise<void> {
  const server = new SocketServer(options).handle('pid', () => process.pid);
  process.on('message', () => void server.close().then(() => process.exit()));
  try {
    await server.listen();
    process.send?.({});
  } catch (error) {
    process.send?.({ error: String(error) });
  }
}

if (cluster.isPrimary) {
  cluster.schedulingPolicy = policy === 'rr' ? cluster.SCHED_RR : cluster.SCHED_NONE;
  takeOrders(commands);
} else {
  void work();
}
