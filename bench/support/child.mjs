// One end of a contestant in a process of its own: a server, or a client with one or more connections.
// The runner sends { call, args }, this answers { result } or { error }, one at a time.
import { writeFile } from 'node:fs/promises';
import { Session } from 'node:inspector/promises';
import { setTimeout } from 'node:timers/promises';

import { loadPeer } from '../peers/index.mjs';
import { loadScenario } from '../scenarios/index.mjs';
import { hub } from './handlers.mjs';

const SETTLE_MS = 200;

let server;
let cpuAtStart;
let profiler;
const clients = [];

const calls = {
  async startServer(peerId, endpoint, options) {
    server = await (await loadPeer(peerId)).startServer(endpoint, options);
    hub.publish = (data) => server.publish(data);
  },

  /** Opens connections one by one: a burst would only test the length of the server's backlog. */
  async openClients(peerId, endpoint, options, count) {
    const peer = await loadPeer(peerId);
    for (let i = 0; i < count; i++) clients.push(await peer.createClient(endpoint, options));
  },

  async drive(scenarioId, benchCase, ms) {
    const scenario = await loadScenario(scenarioId);
    calls.startCpu();
    const sample = await scenario.drive({ client: clients[0], clients }, benchCase, ms);
    return { ...sample, ...calls.usage() };
  },

  startCpu() {
    cpuAtStart = process.cpuUsage();
  },

  usage() {
    const { user, system } = process.cpuUsage(cpuAtStart);
    return { cpuMicros: user + system, rssBytes: process.memoryUsage.rss() };
  },

  /** Memory after everything unreachable is gone; needs --expose-gc. */
  async memory() {
    // Twice, with a pause: sockets are still being closed, and finalizers of the first run free more.
    globalThis.gc();
    await setTimeout(SETTLE_MS);
    globalThis.gc();
    return process.memoryUsage();
  },

  async startProfile() {
    profiler = new Session();
    profiler.connect();
    await profiler.post('Profiler.enable');
    await profiler.post('Profiler.start');
  },

  async stopProfile(file) {
    const { profile } = await profiler.post('Profiler.stop');
    profiler.disconnect();
    await writeFile(file, JSON.stringify(profile));
  },

  async close() {
    await Promise.all(clients.splice(0).map((client) => client.close()));
    await server?.close();
    server = undefined;
  },
};

process.on('message', ({ call, args }) => void answer(call, args));

async function answer(call, args) {
  try {
    process.send({ result: await calls[call](...args) });
  } catch (error) {
    process.send({ error: error.stack });
  }
}

// The runner is gone: so is the reason to live, however many sockets are open.
process.on('disconnect', () => process.exit());
