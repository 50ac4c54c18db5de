import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const CHILD = fileURLToPath(new URL('./child.mjs', import.meta.url));
const MODULES = fileURLToPath(new URL('../node_modules', import.meta.url));

/** Ten thousand sockets are more than most shells allow at first. Windows has no such limit, and no `sh`. */
const WITH_ALL_DESCRIPTORS = 'ulimit -Sn "$(ulimit -Hn)" 2>/dev/null; exec "$0" "$@"';

/** It did not answer in time, and may never. */
export class HangError extends Error {}

/** A process that answers one call after another. */
export class Child {
  #name;
  #process;
  #exited = false;

  constructor(name, execArgv) {
    this.#name = name;
    const args = [...execArgv, '--expose-gc', CHILD];
    const options = {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      // Nest looks for its optional packages from its own folder, which knows nothing of this one's.
      env: { ...process.env, NODE_PATH: MODULES },
    };
    this.#process =
      process.platform === 'win32'
        ? spawn(process.execPath, args, options)
        : spawn('sh', ['-c', WITH_ALL_DESCRIPTORS, process.execPath, ...args], options);
    this.#process.once('exit', () => (this.#exited = true));
  }

  call(call, ...args) {
    return this.callWithin(undefined, call, ...args);
  }

  /** @throws HangError after `boundMs`; the process is of no use any more */
  async callWithin(boundMs, call, ...args) {
    if (this.#exited) throw new Error(`${this.#name} is gone`);
    const abandon = new AbortController();
    const { signal } = abandon;
    let timer;
    try {
      this.#process.send({ call, args });
      const answer = once(this.#process, 'message', { signal });
      const exit = once(this.#process, 'exit', { signal });
      // Whichever loses the race below is aborted, which is no news.
      answer.catch(() => {});
      exit.catch(() => {});
      const races = [
        answer,
        exit.then(([code, killedBy]) => {
          throw new Error(`${this.#name} ended during ${call} (${killedBy ?? `exit code ${code}`})`);
        }),
      ];
      if (boundMs !== undefined)
        races.push(
          new Promise((_resolve, reject) => {
            timer = setTimeout(() => reject(new HangError(`no end within ${boundMs / 1000} s`)), boundMs);
          }),
        );
      const [message] = await Promise.race(races);
      if (message.error !== undefined) throw new Error(`${this.#name}, ${call}: ${message.error}`);
      return message.result;
    } finally {
      clearTimeout(timer);
      abandon.abort();
    }
  }

  async stop(signal = 'SIGTERM') {
    if (this.#exited) return;
    const exited = once(this.#process, 'exit');
    this.#process.kill(signal);
    await exited;
  }
}
