import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { AddressInUseError, ListenError } from '../errors/address.errors.js';
import { endpointLabel, type Endpoint } from '../options/endpoint.js';
import type { ResolvedServerOptions } from '../options/server-options.js';
import { SocketFile } from './socket-file.js';

export interface ListenerOwner {
  onSocket(socket: Socket): void;
  /** Accepting failed, or the path changed under us. Listening goes on. */
  onTrouble(error: Error): void;
  onPathRestored(): void;
}

/** How long a server found at the path gets to show that it is alive. */
const PROBE_TIMEOUT_MS = 500;

/** The listening socket and, for a path, the file it is reached by. Opened once, closed once. */
export class Listener {
  private readonly server: Server;
  private file: SocketFile | undefined;
  private closing: Promise<void> | undefined;

  constructor(
    private readonly options: ResolvedServerOptions,
    private readonly owner: ListenerOwner,
  ) {
    this.server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => owner.onSocket(socket));
  }

  /** The net.Server underneath. */
  get netServer(): Server {
    return this.server;
  }

  /** Where it listens: with the real port when 0 was asked for. */
  get endpoint(): Endpoint {
    const address = this.server.address();
    const { endpoint } = this.options;
    if ('path' in endpoint || address === null || typeof address === 'string') return endpoint;
    return { host: endpoint.host, port: (address as AddressInfo).port };
  }

  /** @throws AddressInUseError, ListenError, PathTooLongError */
  async open(): Promise<void> {
    const { endpoint, backlog, mode, group, pathWatchIntervalMs } = this.options;
    if ('path' in endpoint) {
      this.file = await SocketFile.claim(
        this.server,
        {
          path: endpoint.path,
          mode,
          ...(group >= 0 ? { group } : {}),
          backlog,
          probeTimeoutMs: PROBE_TIMEOUT_MS,
          watchIntervalMs: pathWatchIntervalMs,
        },
        {
          onPathLost: () => this.owner.onTrouble(new ListenError(endpoint.path, 'the socket file vanished')),
          onPathRestored: () => this.owner.onPathRestored(),
          onPathReplaced: () =>
            this.owner.onTrouble(new ListenError(endpoint.path, 'another socket stands at the path')),
        },
      );
    } else {
      await this.listenOnTcp(endpoint.host, endpoint.port, backlog);
    }
    this.server.on('error', (error) => this.owner.onTrouble(error));
  }

  /** Gives up the address first, then stops accepting. Connections are not touched. Idempotent. */
  close(): Promise<void> {
    this.closing ??= this.shut();
    return this.closing;
  }

  private async shut(): Promise<void> {
    await this.file?.release();
    // net.Server calls back only once every connection has ended; the handle itself is gone at once.
    if (this.server.listening) this.server.close();
    await this.file?.dispose();
  }

  private listenOnTcp(host: string, port: number, backlog: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const onError = (error: NodeJS.ErrnoException): void => {
        const label = endpointLabel({ host, port });
        reject(
          error.code === 'EADDRINUSE'
            ? new AddressInUseError(label, 'another process', { cause: error })
            : new ListenError(label, error.message, { cause: error }),
        );
      };
      this.server.once('error', onError);
      this.server.listen({ host, port, backlog }, () => {
        this.server.off('error', onError);
        resolve();
      });
    });
  }
}
