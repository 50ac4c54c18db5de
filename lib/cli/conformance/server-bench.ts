import { connect, type Socket } from 'node:net';
import type { PathEndpoint, TcpEndpoint } from '../../options/endpoint.js';
import { COMPACT_CAPS } from './compact.js';
import { RawPeer } from './raw-peer.js';
import { NotJudged, PeerAbsent } from './verdict.js';
import { frame, heartbeat, isObject, KIT_CAPS, request, type Received } from './wire.js';

/** The text that the protocol fixes for a request that nothing handles. */
export const UNKNOWN = 'Unknown request type';

/** Room for frames in the hello of the kit. */
const MAX_FRAME_BYTES = 16 * 1024 * 1024;

/** The kit as a client of the server under test. */
export class ServerBench {
  private readonly peers: RawPeer[] = [];
  private count = 0;

  constructor(
    private readonly endpoint: PathEndpoint | TcpEndpoint,
    readonly timeoutMs: number,
  ) {}

  /** A new connection; nothing is sent, and the greeting is not looked at. */
  async open(): Promise<RawPeer> {
    const socket = connect({ ...this.endpoint, allowHalfOpen: true, noDelay: true });
    await connected(socket);
    const peer = new RawPeer(socket, this.timeoutMs);
    this.peers.push(peer);
    return peer;
  }

  /** A new connection on which hello has been said, and heard. */
  async upgrade(maxFrameBytes = MAX_FRAME_BYTES, caps = KIT_CAPS): Promise<RawPeer> {
    const peer = await this.open();
    const { body } = await peer.response('', 'the greeting');
    if (!isObject(body['data']) || !Array.isArray(body['data']['caps'])) {
      throw new NotJudged('the greeting has no caps, so this is a plain server');
    }
    const hello = { name: 'conformance', account_id: '', caps, max_frame_bytes: maxFrameBytes };
    peer.readsCompact = caps === COMPACT_CAPS;
    peer.send(heartbeat({ hello, probe: 0 }));
    await peer.next('a heartbeat with "probe_ack": 0', ({ probe_ack: ack }) => ack === 0);
    return peer;
  }

  newId(): string {
    return `kit-${++this.count}`;
  }

  /** The response to a request. @throws NotJudged if nothing handles it */
  async ask(peer: RawPeer, type: string, data: unknown, extras?: object): Promise<Received> {
    const id = this.newId();
    peer.send(request(id, type, data, extras));
    const received = await peer.response(id, `the response to "${type}"`);
    this.checkHandled(type, received);
    return received;
  }

  checkHandled(type: string, { body }: Received): void {
    // Without an echo there is no application to judge; then the rule fails by itself.
    if (body['error'] === UNKNOWN && type !== 'echo')
      throw new NotJudged(`the application has no handler "${type}"`);
  }

  /** The V1 response to a V1 request. */
  async askV1(peer: RawPeer, type: string, data: unknown): Promise<Received> {
    const id = this.newId();
    peer.send(frame({ type, request_id: id, data }));
    return peer.next(
      `the response to "${type}"`,
      ({ type: kind, request_id: requestId }) => kind === 'response' && requestId === id,
    );
  }

  closeConnections(): void {
    for (const peer of this.peers.splice(0)) peer.destroy();
  }
}

/** What the server says it understands. */
export function capsOf(peer: RawPeer): readonly unknown[] {
  const data = peer.frames[0]?.body['data'];
  return isObject(data) && Array.isArray(data['caps']) ? data['caps'] : [];
}

async function connected(socket: Socket): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', (error) => reject(new PeerAbsent(`Nobody to connect to: ${error.message}`)));
  });
}
