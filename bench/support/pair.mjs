import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { loadPeer } from '../peers/index.mjs';

/** Sockets of this run; removed with whatever killed servers left in it. */
const folder = mkdtempSync(join(tmpdir(), 'bench-'));
let endpoints = 0;
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));

/** A contestant's server and client, each in a process of its own. */
export class Pair {
  #endpoint;
  #server;
  #client;

  constructor(id, title, endpoint, server, client) {
    this.id = id;
    this.title = title;
    this.#endpoint = endpoint;
    this.#server = server;
    this.#client = client;
  }

  /** @param {string} id of a peer */
  static async start(id, { execArgv = [] } = {}) {
    const { title, endpointKind } = await loadPeer(id);
    const endpoint = await freeEndpoint(endpointKind);
    const pair = new Pair(
      id,
      title,
      endpoint,
      new Child(`${id} server`, execArgv),
      new Child(`${id} client`, execArgv),
    );
    try {
      await pair.#server.call('startServer', id, endpoint);
    } catch (error) {
      await pair.stop();
      throw error;
    }
    return pair;
  }

  openClients(count) {
    return this.#client.call('openClients', this.id, this.#endpoint, count);
  }

  /** Runs one case of a scenario. @returns {Promise<Sample & { cpuMicros: { client: number, server: number } }>} */
  async drive(scenarioId, benchCase, ms) {
    await this.#server.call('startCpu');
    const { cpuMicros: client, ...sample } = await this.#client.call('drive', scenarioId, benchCase, ms);
    return { ...sample, cpuMicros: { client, server: await this.#server.call('cpuMicros') } };
  }

  async memory() {
    const [server, client] = await Promise.all([this.#server.call('memory'), this.#client.call('memory')]);
    return { server, client };
  }

  /** Closes the client's connections; the server goes on. */
  closeClients() {
    return this.#client.call('close');
  }

  async stop() {
    await this.#client.stop();
    await this.#server.stop();
  }
}

/** A process that answers one call after another. */
class Child {
  #name;
  #process;
  #exited = false;

  constructor(name, execArgv) {
    this.#name = name;
    this.#process = fork(new URL('./child.mjs', import.meta.url), { execArgv });
    this.#process.once('exit', () => (this.#exited = true));
  }

  async call(call, ...args) {
    if (this.#exited) throw new Error(`${this.#name} is gone`);
    const abandon = new AbortController();
    const { signal } = abandon;
    try {
      this.#process.send({ call, args });
      const answer = once(this.#process, 'message', { signal });
      const exit = once(this.#process, 'exit', { signal });
      // Whichever loses the race below is aborted, which is no news.
      answer.catch(() => {});
      exit.catch(() => {});
      const [message] = await Promise.race([
        answer,
        exit.then(([code, killedBy]) => {
          throw new Error(`${this.#name} ended during ${call} (${killedBy ?? `exit code ${code}`})`);
        }),
      ]);
      if (message.error !== undefined) throw new Error(`${this.#name}, ${call}: ${message.error}`);
      return message.result;
    } finally {
      abandon.abort();
    }
  }

  async stop() {
    if (this.#exited) return;
    const exited = once(this.#process, 'exit');
    this.#process.kill();
    await exited;
  }
}

/** @returns {Promise<{ path: string } | { host: string, port: number }>} */
async function freeEndpoint(kind) {
  if (kind === 'unix') return { path: join(folder, `${++endpoints}.sock`) };
  const probe = net.createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return { host: '127.0.0.1', port };
}
