import { once } from 'node:events';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { frame, RawPeer, type Address, type WireMessage } from './frames.js';

/** What one of our own servers lists in its greeting. */
const CAPS = ['stream', 'cancel', 'deadline', 'meta', 'error_detail', 'packet', 'probe', 'going_away'];

/** The frame of a whole message, written by hand: these tests share no codec with the library. */
export function message(msgType: string, id: string, data: unknown, extras: object = {}): Buffer {
  return frame({
    msg_type: msgType,
    request_id: id,
    data,
    timestamp: new Date().toISOString(),
    error: null,
    ...extras,
  });
}

export function request(id: string, type: string, data: unknown, extras?: object): Buffer {
  return message('request', id, { type, data }, extras);
}

export function event(id: string, type: string, data: unknown, extras?: object): Buffer {
  return message('push', id, { type, data }, extras);
}

export function response(id: string, data: unknown, extras?: object): Buffer {
  return message('response', id, data, extras);
}

/** The caller's word that it does not wait any more. */
export function cancel(id: string): Buffer {
  return message('error', id, null, { error: 'cancelled' });
}

/** What a server says of its own accord. */
export function notice(code: string): Buffer {
  return message('error', '', null, { error: code, error_detail: { code } });
}

/** A server's answer that it did not start the call. */
export function refusal(id: string, code: string): Buffer {
  return message('response', id, null, { error: code, error_detail: { code, message: code, refused: true } });
}

export function greeting({ isUpgraded = true } = {}): Buffer {
  return response('', { account_id: '', conn_id: '00000001', ...(isUpgraded ? { caps: CAPS } : {}) });
}

export function hello(extras: object = {}): Buffer {
  return message('heartbeat', '', null, { hello: { name: 'by hand', caps: CAPS }, ...extras });
}

/** A connected client made by hand that has read the greeting; `isUpgraded`: and has said hello, and been heard. */
export async function connectByHand(address: Address, { isUpgraded = true } = {}): Promise<RawPeer> {
  const peer = await RawPeer.connect(address);
  await peer.next();
  if (!isUpgraded) return peer;
  await peer.send(hello({ probe: 0 }));
  await nextWhere(peer, ({ probe_ack: ack }) => ack === 0);
  return peer;
}

/** The first frame not yet taken that `isMeant`; those before it are skipped. */
export async function nextWhere(
  peer: RawPeer,
  isMeant: (received: WireMessage) => boolean,
  timeoutMs?: number,
): Promise<WireMessage> {
  for (;;) {
    const received = await peer.next(timeoutMs);
    if (isMeant(received)) return received;
  }
}

export function nextResponse(peer: RawPeer, id: string, timeoutMs?: number): Promise<WireMessage> {
  return nextWhere(
    peer,
    (received) => received.request_id === id && received.msg_type === 'response',
    timeoutMs,
  );
}

export function nextRequest(peer: RawPeer, timeoutMs?: number): Promise<WireMessage> {
  return nextWhere(peer, (received) => received.msg_type === 'request', timeoutMs);
}

/** Resolves once the other side has read, and handled, all that was sent before. */
export async function heard(peer: RawPeer): Promise<void> {
  const probe = ++probes;
  await peer.send(message('heartbeat', '', null, { probe }));
  await nextWhere(peer, ({ probe_ack: ack }) => ack === probe);
}

let probes = 0;

/** A server made by hand: connections come out as peers. It says nothing by itself, and ends when its client does. */
export class RawServer {
  private readonly peers: RawPeer[] = [];
  private taken = 0;
  private onPeer: () => void = () => undefined;

  private constructor(
    private readonly server: Server,
    readonly address: Address,
  ) {}

  static async listen(at: Address): Promise<RawServer> {
    const server = createServer({ noDelay: true });
    server.listen(at);
    await once(server, 'listening');
    const bound = server.address() as AddressInfo | string;
    const raw = new RawServer(server, typeof bound === 'string' ? { path: bound } : { port: bound.port });
    server.on('connection', (socket) => {
      raw.peers.push(new RawPeer(socket));
      raw.onPeer();
    });
    return raw;
  }

  /** The next connection, which waits for its greeting. One call at a time. */
  async accept(): Promise<RawPeer> {
    while (this.taken >= this.peers.length) await new Promise<void>((resolve) => (this.onPeer = resolve));
    return this.peers[this.taken++] as RawPeer;
  }

  /** The next connection, greeted. */
  async welcome(options?: { isUpgraded: boolean }): Promise<RawPeer> {
    const peer = await this.accept();
    await peer.send(greeting(options));
    return peer;
  }

  /** Stops listening and cuts every connection. Idempotent. */
  async close(): Promise<void> {
    for (const peer of this.peers) peer.destroy();
    if (!this.server.listening) return;
    this.server.close();
    await once(this.server, 'close');
  }
}
