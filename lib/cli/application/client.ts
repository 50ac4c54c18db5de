import { Link } from '../../client/link.js';
import type { CallObserver } from '../../calls/pending-call.js';
import { request } from '../../calls/request.js';
import { UnixSocketError } from '../../errors/unix-socket.error.js';
import type { LinkOptions } from '../../options/client-options.js';
import { encodeJson } from '../../protocol/json-codec.js';

/** One call that the kit asks for; see docs/conformance.md. */
interface Order {
  readonly type: string;
  readonly data: unknown;
  readonly stream?: boolean;
  readonly event?: boolean;
  readonly cancelAfterMs?: number;
  readonly timeoutMs?: number;
  readonly meta?: Readonly<Record<string, string>>;
}

interface Task {
  readonly task: number;
  readonly calls: readonly Order[];
  readonly done?: true;
}

/** The conformance application of a client: does what the kit asks until the kit, or `signal`, ends it. */
export async function runClientApplication(options: LinkOptions, signal: AbortSignal): Promise<void> {
  const link = new Link({
    ...options,
    accountId: 'acc1',
    heartbeat: { intervalMs: 250 },
    reconnect: { initialDelayMs: 20, maxDelayMs: 100 },
  });
  let pushes: unknown[] = [];
  link.pushes.subscribe(undefined, (data, { type }) => {
    pushes.push([type, data]);
  });
  try {
    let report: unknown = null;
    while (!signal.aborted) {
      const task = await nextTask(link, report, signal);
      if (task?.done === true) return;
      if (task === undefined) continue;
      pushes = [];
      const outcomes = await Promise.all(task.calls.map((order) => carryOut(link, order)));
      report = { task: task.task, outcomes, pushes };
    }
  } finally {
    await link.close();
  }
}

/** Undefined if the connection was lost meanwhile; then it is asked again, on the next. */
async function nextTask(link: Link, report: unknown, signal: AbortSignal): Promise<Task | undefined> {
  try {
    return (await request(link, 'conformance.next', report, { timeoutMs: 0, signal })) as Task;
  } catch (error) {
    if (error instanceof UnixSocketError) return undefined;
    throw error;
  }
}

async function carryOut(link: Link, order: Order): Promise<object> {
  try {
    return { result: (await start(link, order)) ?? null };
  } catch (error) {
    const { message, code } = error as UnixSocketError;
    return { error: message, code };
  }
}

function start(link: Link, order: Order): Promise<unknown> {
  const { type, data, stream, event, cancelAfterMs, timeoutMs, meta } = order;
  if (event === true) {
    return collect((observer) => link.emit(type, encodeJson(data), {}, observer));
  }
  if (stream === true) {
    return collect((observer) => link.call(type, encodeJson(data), {}, observer));
  }
  const signal = cancelAfterMs === undefined ? undefined : AbortSignal.timeout(cancelAfterMs);
  return request(link, type, data, { timeoutMs, signal, meta });
}

function collect(begin: (observer: CallObserver) => unknown): Promise<unknown[]> {
  return new Promise((resolve, reject) => {
    const values: unknown[] = [];
    begin({ next: (value) => values.push(value), error: reject, complete: () => resolve(values) });
  });
}
