import { createServer, type Socket } from 'node:net';
import { frame, RawPeer } from './frames.js';
import { tempSocketPath } from './temp-paths.js';

/** A server that greets as one of the original protocol does, and does nothing else unless told to. */
export class PlainServer {
  readonly path = tempSocketPath();
  private readonly peers: RawPeer[] = [];
  private onPeer: (() => void) | undefined;
  private readonly server = createServer({ allowHalfOpen: true }, (socket) => this.greet(socket));

  static async start(): Promise<PlainServer> {
    const plain = new PlainServer();
    await new Promise<void>((resolve) => plain.server.listen(plain.path, resolve));
    return plain;
  }

  /** The first client, also a future one. */
  async peer(): Promise<RawPeer> {
    while (this.peers[0] === undefined) await new Promise<void>((resolve) => (this.onPeer = resolve));
    return this.peers[0];
  }

  close(): void {
    this.server.close();
    for (const peer of this.peers) peer.destroy();
  }

  private greet(socket: Socket): void {
    const peer = new RawPeer(socket);
    this.peers.push(peer);
    void peer.send(frame({ ...response('', { account_id: 'plain', conn_id: '00000001' }) }));
    this.onPeer?.();
  }
}

/** A response of the original protocol. */
export function response(id: string, data: unknown): object {
  return { msg_type: 'response', request_id: id, data, timestamp: '2026-01-01T00:00:00.000000', error: null };
}
