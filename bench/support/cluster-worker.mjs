// One of the processes that share a socket path: see cluster-peer.mjs.
import { startOurServer } from './our-peer.mjs';

await startOurServer(JSON.parse(process.argv[2]), {});
process.send('listening');
process.on('disconnect', () => process.exit());
