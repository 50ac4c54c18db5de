import { ourPackage } from './nest.mjs';
import { connectNestClient, startNestServer, stringPattern } from './nest-peer.mjs';

/** Our transport, over whatever the endpoint and options say: every variant of it is a peer of a few lines. */
export async function startOurServer(endpoint, options) {
  const { UnixSocketServer } = ourPackage();
  const strategy = new UnixSocketServer({ ...endpoint, ...options });
  const { close } = await startNestServer({ strategy }, stringPattern);
  return { publish: (data) => strategy.push('tick', data), close };
}

export async function connectOurClient(endpoint, options) {
  const { UnixSocketClientProxy } = ourPackage();
  const proxy = new UnixSocketClientProxy({ ...endpoint, ...options });
  const client = await connectNestClient(proxy, stringPattern);
  return { ...client, onPush: (listener) => void proxy.onPush('tick', listener) };
}
