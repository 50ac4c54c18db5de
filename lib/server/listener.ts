import { createServer, type AddressInfo, type ListenOptions, type Server } from 'node:net';
import type { Duplex } from 'node:stream';
import { AddressInUseError, ListenError } from '../errors/address.errors.js';
import { endpointLabel, isAbstract, type Endpoint } from '../options/endpoint.js';
import type { ResolvedServerOptions } from '../options/server-options.js';
import { SocketFile } from './socket-file.js';
import { askForPath } from './take-over.js';

export interface ListenerOwner {
  onSocket(socket: Duplex): void;
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
  private isLettingGo = false;
  private stopStreams: (() => void) | undefined;
  private closing: Promise<void> | undefined;

  constructor(
    private readonly options: ResolvedServerOptions,
    private readonly owner: ListenerOwner,
  ) {
    this.server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => owner.onSocket(socket));
  }

  /** The net.Server underneath; it does not listen when streams of one's own are used. */
  get netServer(): Server {
    return this.server;
  }

  /** Where it listens: with the real port when 0 was asked for. */
  get endpoint(): Endpoint {
    const address = this.server.address();
    const { endpoint } = this.options;
    if (!('port' in endpoint) || address === null || typeof address === 'string') return endpoint;
    return { host: endpoint.host, port: (address as AddressInfo).port };
  }

  /** @throws AddressInUseError, ListenError, PathTooLongError */
  async open(): Promise<void> {
    const { endpoint, backlog } = this.options;
    if ('label' in endpoint) this.stopStreams = endpoint.listen((stream) => this.owner.onSocket(stream));
    else if ('path' in endpoint && !isAbstract(endpoint)) await this.claim(endpoint.path);
    else await this.listen({ ...endpoint, backlog });
    this.server.on('error', (error) => this.owner.onTrouble(error));
  }

  /** Gives up the address first, then stops accepting. Connections are not touched. Idempotent. */
  close(): Promise<void> {
    this.closing ??= this.shut();
    return this.closing;
  }

  private async shut(): Promise<void> {
    this.stopStreams?.();
    await this.file?.release();
    // Whoever connected before the name was given up is still accepted, to be told where things stand.
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    // net.Server calls back only once every connection has ended; the handle itself is gone at once.
    if (this.server.listening) this.server.close();
    await this.file?.dispose();
  }

  /** A successor may take the path now: it is not watched until {@link looksTaken}. */
  letGo(): void {
    this.isLettingGo = true;
    this.file?.pauseWatch();
  }

  /** Whether another server's socket stands at the path. If not, it is watched again. */
  async looksTaken(): Promise<boolean> {
    const state = await this.file?.look();
    this.isLettingGo = false;
    return state === 'replaced';
  }

  private async claim(path: string): Promise<void> {
    try {
      await this.claimFile(path, false);
    } catch (error) {
      if (!(error instanceof AddressInUseError) || !this.options.takeOver) throw error;
      const consent = await askForPath(path, this.options.maxFrameBytes);
      try {
        await this.claimFile(path, true);
      } finally {
        consent.release();
      }
    }
  }

  private async claimFile(path: string, takeOver: boolean): Promise<void> {
    const { mode, group, backlog, pathWatchIntervalMs } = this.options;
    const files = {
      path,
      mode,
      ...(group >= 0 ? { group } : {}),
      backlog,
      probeTimeoutMs: PROBE_TIMEOUT_MS,
      watchIntervalMs: pathWatchIntervalMs,
      takeOver,
    };
    this.file = await SocketFile.claim(this.server, files, {
      onPathLost: () => this.owner.onTrouble(new ListenError(path, 'the socket file vanished')),
      onPathRestored: () => this.owner.onPathRestored(),
      onPathReplaced: () => {
        if (!this.isLettingGo)
          this.owner.onTrouble(new ListenError(path, 'another socket stands at the path'));
      },
    });
  }

  private listen(where: ListenOptions): Promise<void> {
    return new Promise((resolve, reject) => {
      const onError = (error: NodeJS.ErrnoException): void => {
        const label = endpointLabel(this.options.endpoint);
        reject(
          error.code === 'EADDRINUSE'
            ? new AddressInUseError(label, 'another process', { cause: error })
            : new ListenError(label, error.message, { cause: error }),
        );
      };
      this.server.once('error', onError);
      this.server.listen(where, () => {
        this.server.off('error', onError);
        resolve();
      });
    });
  }
}
