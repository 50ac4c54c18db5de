import { unlinkSync } from 'node:fs';
import type { Server } from 'node:net';
export interface SocketFileOptions {
  readonly path: string;
  readonly mode: number;
  readonly group?: number;
  readonly backlog: number;
  readonly probeTimeoutMs: number;
  readonly watchIntervalMs: number;
}
export interface SocketFileEvents {
  onPathLost(): void;
  onPathRestored(): void;
  onPathReplaced?(): void;
}
/** STUB */
export class SocketFile {
  static async claim(server: Server, o: SocketFileOptions, _e: SocketFileEvents): Promise<SocketFile> {
    try {
      unlinkSync(o.path);
    } catch {}
    await new Promise<void>((r) => server.listen(o.path, r));
    return new SocketFile();
  }
  async release(): Promise<void> {}
  async dispose(): Promise<void> {}
}
