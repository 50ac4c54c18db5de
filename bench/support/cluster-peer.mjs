import cluster from 'node:cluster';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

import { connectOurClient } from './our-peer.mjs';

/** Our transport in `workers` processes that share one socket path; the process that starts them serves nobody. */
export function clusterPeer(workers) {
  return {
    startServer: async (endpoint) => {
      cluster.setupPrimary({
        exec: fileURLToPath(new URL('./cluster-worker.mjs', import.meta.url)),
        args: [JSON.stringify(endpoint)],
        execArgv: [],
      });
      const started = Array.from({ length: workers }, () => cluster.fork());
      await Promise.all(started.map((worker) => once(worker, 'message')));
      return { close: () => new Promise((resolve) => cluster.disconnect(resolve)) };
    },
    createClient: connectOurClient,
  };
}
