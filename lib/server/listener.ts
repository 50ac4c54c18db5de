import cluster from 'node:cluster';
import { createServer, type AddressInfo, type ListenOptions, type Server } from 'node:net';
import type { Duplex } from 'node:stream';
import { AddressInUseError, ListenError } from '../errors/address.errors.js';
import { endpointLabel, isAbstract, type Endpoint } from '../options/endpoint.js';
import type { ResolvedServerOptions } from '../options/server-options.js';
import { SocketFile } from './socket-file.js';
import { askForPath, type Consent } from './take-over.js';

export interface ListenerOwner {
  onSocket(socket: Duplex): void;
  /** Accepting failed, or the path changed under us. Listening goes on. */
  onTrouble(error: Error): void;
  onPathRestored(): void;
  /** Nothing that {@link onTrouble} told of is wrong any more. */
  onRecovered(): void;
}

/** How long a server found at the path gets to show that it is alive. */
const PROBE_TIMEOUT_MS = 500;

/** The listening socket and, for a path, the file it is reached by. Opened once, closed once. */
export class Listener {
  private server: Server;
  private file: SocketFile | undefined;
  private acceptedCount = 0;
  private readonly troubles = new Set<'accepting' | 'path'>();
  private isLettingGo = false;
  private stopStreams: (() => void) | undefined;
  private opening: Promise<void> | undefined;
  private repairing: Promise<void> | undefined;
  private closing: Promise<void> | undefined;

  constructor(
    private readonly options: ResolvedServerOptions,
    private readonly owner: ListenerOwner,
  ) {
    this.server = this.makeServer();
  }

  /**
   * The net.Server underneath; it does not listen when streams of one's own are used. Another one from the moment
   * on that the path had to be made anew.
   */
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

  /** Once open, again is the same; after a failure it may be tried again. @throws AddressInUseError, ListenError */
  open(): Promise<void> {
    if (this.closing !== undefined)
      return Promise.reject(
        new ListenError(endpointLabel(this.options.endpoint), 'the server has been closed'),
      );
    this.opening ??= this.start().catch((error: unknown) => {
      this.opening = undefined;
      throw error;
    });
    return this.opening;
  }

  /** Gives up the address first, then stops accepting. Connections are not touched. Idempotent. */
  close(): Promise<void> {
    this.closing ??= this.shut();
    return this.closing;
  }

  /**
   * A successor may take the path now: it is not watched until {@link looksTaken}. False if there is none to give:
   * that of a cluster is not one worker's.
   */
  letGo(): boolean {
    if (this.file === undefined || cluster.isWorker) return false;
    this.isLettingGo = true;
    this.file.pauseWatch();
    return true;
  }

  /** Whether another server's socket stands at the path. If not, it is watched again. */
  async looksTaken(): Promise<boolean> {
    const state = await this.file?.look();
    this.isLettingGo = false;
    return state === 'replaced';
  }

  private makeServer(): Server {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.acceptedCount++;
      if (this.troubles.size > 0) this.noteRecovery('accepting');
      this.owner.onSocket(socket);
    });
    // One that does not listen has failed to, which whoever made it listen is told.
    return server.on('error', (error) => {
      if (server.listening) this.noteTrouble('accepting', error);
    });
  }

  private async start(): Promise<void> {
    const { endpoint, backlog } = this.options;
    if ('label' in endpoint) this.stopStreams = endpoint.listen((stream) => this.owner.onSocket(stream));
    else if ('path' in endpoint && !isAbstract(endpoint)) this.file = await this.claim(endpoint.path);
    else await this.listen({ ...endpoint, backlog });
  }

  private async shut(): Promise<void> {
    await this.opening?.catch(() => undefined);
    await this.repairing;
    this.stopStreams?.();
    await this.file?.release();
    if (this.server.listening) {
      await this.emptyBacklog();
      // net.Server calls back only once every connection has ended; the handle itself is gone at once.
      this.server.close();
    }
    await this.file?.dispose();
  }

  /**
   * Whoever connected before the name was given up is still accepted, to be told where things stand. That is one
   * connection in each turn of the event loop.
   */
  private async emptyBacklog(): Promise<void> {
    let idleTurns = 0;
    for (let turn = 0; turn < this.options.backlog + 2 && idleTurns < 2; turn++) {
      const before = this.acceptedCount;
      await new Promise(setImmediate);
      idleTurns = this.acceptedCount === before ? idleTurns + 1 : 0;
    }
  }

  private async claim(path: string): Promise<SocketFile> {
    try {
      return await this.claimFile(this.server, path);
    } catch (error) {
      if (!(error instanceof AddressInUseError) || !this.options.takeOver) throw error;
    }
    const consent = await askForPath(path, this.options.maxFrameBytes);
    try {
      return await this.claimFile(this.server, path, consent);
    } finally {
      consent?.release();
    }
  }

  private claimFile(server: Server, path: string, consent?: Consent): Promise<SocketFile> {
    const { mode, group, backlog, pathWatchIntervalMs } = this.options;
    const files = {
      path,
      mode,
      ...(group >= 0 ? { group } : {}),
      backlog,
      probeTimeoutMs: PROBE_TIMEOUT_MS,
      watchIntervalMs: pathWatchIntervalMs,
      ...(consent === undefined ? {} : { mayReplace: (key: string) => consent.covers(key) }),
    };
    return SocketFile.claim(server, files, {
      onPathLost: () => this.noteTrouble('path', new ListenError(path, 'the socket file vanished')),
      onPathUnrestorable: () => this.repair(path),
      onPathRestored: () => this.notePathRestored(),
      onPathReplaced: () => {
        if (!this.isLettingGo)
          this.noteTrouble('path', new ListenError(path, 'another socket stands at the path'));
      },
    });
  }

  /** Listens on a new socket at the path, because there is no way back to the old one. Its connections stay. */
  private repair(path: string): void {
    // The socket of a cluster is not one worker's.
    if (cluster.isWorker || this.closing !== undefined) return;
    // The next look tries again.
    this.repairing ??= this.listenAnew(path)
      .catch(() => undefined)
      .finally(() => (this.repairing = undefined));
  }

  private async listenAnew(path: string): Promise<void> {
    const server = this.makeServer();
    const file = await this.claimFile(server, path);
    const { server: oldServer, file: oldFile } = this;
    this.server = server;
    this.file = file;
    oldServer.close();
    await oldFile?.dispose();
    this.notePathRestored();
  }

  private notePathRestored(): void {
    this.owner.onPathRestored();
    this.noteRecovery('path');
  }

  private noteTrouble(kind: 'accepting' | 'path', error: Error): void {
    this.troubles.add(kind);
    this.owner.onTrouble(error);
  }

  private noteRecovery(kind: 'accepting' | 'path'): void {
    if (this.troubles.delete(kind) && this.troubles.size === 0) this.owner.onRecovered();
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
