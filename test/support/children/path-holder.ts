import { connect, createServer, type Server, type Socket } from 'node:net';
import { readGreeting } from '../../../lib/protocol/guards.js';
import { createResponse } from '../../../lib/protocol/message-body.js';
import { MessageProtocol } from '../../../lib/protocol/message-protocol.js';
import {
  SocketFile,
  type SocketFileEvents,
  type SocketFileOptions,
} from '../../../lib/server/socket-file.js';

export type HolderOptions = Partial<Omit<SocketFileOptions, 'path'>>;

/** A server that greets with its name, so that it can be told who answers, and the path that it claims. */
export class PathHolder {
  readonly server: Server;
  /** What the watchdog reported, in order. */
  readonly reports: string[] = [];
  /** Everybody who connected, probes too. */
  connectionCount = 0;
  file: SocketFile | undefined;
  private readonly sockets = new Set<Socket>();

  constructor(
    readonly name: string,
    greets = true,
  ) {
    const greeting = MessageProtocol.encode(createResponse({ account_id: name, conn_id: '1' }, ''));
    this.server = createServer((socket) => {
      this.connectionCount++;
      this.sockets.add(socket);
      socket.on('close', () => this.sockets.delete(socket)).on('error', () => undefined);
      socket.resume();
      if (greets) socket.write(greeting);
    });
  }

  async claim(path: string, options: HolderOptions = {}): Promise<SocketFile> {
    const all = { mode: 0o600, backlog: 511, probeTimeoutMs: 500, watchIntervalMs: 0, ...options, path };
    const events: SocketFileEvents = {
      onPathLost: () => this.reports.push('lost'),
      onPathUnrestorable: () => this.reports.push('unrestorable'),
      onPathRestored: () => this.reports.push('restored'),
      onPathReplaced: () => this.reports.push('replaced'),
    };
    this.file = await SocketFile.claim(this.server, all, events);
    return this.file;
  }

  /** As a server closes: the path first, and the socket when what is in flight has been answered. Idempotent. */
  async close({ drainMs = 0 } = {}): Promise<void> {
    await this.file?.release();
    if (drainMs > 0) await new Promise((resolve) => setTimeout(resolve, drainMs));
    for (const socket of this.sockets) socket.destroy();
    if (this.server.listening) await new Promise((resolve) => this.server.close(resolve));
    await this.file?.dispose();
    this.file = undefined;
  }
}

/** The name of the server that answers at `path`; rejects with the error of `connect`. */
export function whoAnswers(path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('error', reject);
    socket.once('data', (bytes) => {
      resolve(readGreeting(MessageProtocol.decode(bytes)?.data).accountId);
      socket.destroy();
    });
  });
}
