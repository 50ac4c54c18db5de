import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { loadPeer } from '../peers/index.mjs';
import { Child } from './process.mjs';

/** Sockets of this run; removed with whatever killed servers left in it. */
const folder = mkdtempSync(join(tmpdir(), 'bench-'));
let endpoints = 0;
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));

const BOUND_MS = 10_000;

/** A contestant's server and client, each in a process of its own. */
export class Pair {
  #endpoint;
  #options;
  #server;
  #client;

  constructor(id, title, endpoint, options, server, client) {
    this.id = id;
    this.title = title;
    this.#endpoint = endpoint;
    this.#options = options;
    this.#server = server;
    this.#client = client;
  }

  /**
   * @param {string} id of a peer
   * @param {object} [settings] `options` for both ends; `execArgv` of Node for both processes
   */
  static async start(id, { options = {}, execArgv = [] } = {}) {
    const { title, endpointKind } = await loadPeer(id);
    const endpoint = await freeEndpoint(endpointKind);
    const server = new Child(`${id} server`, execArgv);
    const client = new Child(`${id} client`, execArgv);
    const pair = new Pair(id, title, endpoint, options, server, client);
    try {
      await server.call('startServer', id, endpoint, options);
    } catch (error) {
      await pair.stop();
      throw error;
    }
    return pair;
  }

  openClients(count) {
    return this.#client.call('openClients', this.id, this.#endpoint, this.#options, count);
  }

  /**
   * Runs one case of a scenario.
   * @returns {Promise<Sample & { cpuMicros: Ends, rssBytes: Ends }>} where Ends is { client, server }
   * @throws HangError when it takes longer than its bound; then both processes have to be stopped
   */
  async drive(scenarioId, benchCase, ms) {
    await this.#server.call('startCpu');
    const boundMs = ms + (benchCase.boundMs ?? BOUND_MS);
    const { cpuMicros, rssBytes, ...sample } = await this.#client.callWithin(
      boundMs,
      'drive',
      scenarioId,
      benchCase,
      ms,
    );
    const server = await this.#server.callWithin(BOUND_MS, 'usage');
    return {
      ...sample,
      cpuMicros: { client: cpuMicros, server: server.cpuMicros },
      rssBytes: { client: rssBytes, server: server.rssBytes },
    };
  }

  /** CPU time of both processes during `work`. */
  async cpuOf(work) {
    await Promise.all([this.#server.call('startCpu'), this.#client.call('startCpu')]);
    await work();
    const [server, client] = await Promise.all([this.#server.call('usage'), this.#client.call('usage')]);
    return { client: client.cpuMicros, server: server.cpuMicros };
  }

  async memory() {
    const [server, client] = await Promise.all([this.#server.call('memory'), this.#client.call('memory')]);
    return { server, client };
  }

  async startProfile() {
    await Promise.all([this.#server.call('startProfile'), this.#client.call('startProfile')]);
  }

  /** Leaves a CPU profile of each end. @param {string} prefix of their files */
  async stopProfile(prefix) {
    await Promise.all([
      this.#server.call('stopProfile', `${prefix}-server.cpuprofile`),
      this.#client.call('stopProfile', `${prefix}-client.cpuprofile`),
    ]);
  }

  /** Closes the client's connections; the server goes on. */
  closeClients() {
    return this.#client.call('close');
  }

  /** @param {NodeJS.Signals} [signal] what a process that hangs may not hear is SIGTERM */
  async stop(signal) {
    await this.#client.stop(signal);
    await this.#server.stop(signal);
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
