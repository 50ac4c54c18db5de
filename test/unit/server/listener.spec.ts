import fs from 'node:fs';
import { dirname, join } from 'node:path';
import { AddressInUseError, ListenError } from '../../../lib/errors/address.errors.js';
import type { SocketServerOptions } from '../../../lib/options/server-options.js';
import { SocketServer } from '../../../lib/server/socket-server.js';
import { atEnd } from '../../support/at-end.js';
import { RawPeer } from '../../support/frames.js';
import { whoAnswers } from '../../support/children/path-holder.js';
import { leaveDeadSocket } from '../../support/dead-socket.js';
import { gone } from '../../support/gone.js';
import { tempDir, tempSocketPath } from '../../support/temp-paths.js';
import { until } from '../../support/until.js';
import { connectByHand, heard } from '../../support/wire.js';

const WATCH_MS = 10;

interface Watched {
  readonly server: SocketServer;
  /** What it told about its path, in order. */
  readonly news: string[];
}

function newServer(options: SocketServerOptions): Watched {
  const news: string[] = [];
  const server = new SocketServer(
    { drainTimeoutMs: 0, ...options },
    {
      onTrouble: ({ message }) => news.push(message),
      onPathRestored: () => news.push('restored'),
    },
  );
  atEnd(() => server.close());
  return { server, news };
}

async function startServer(options: SocketServerOptions): Promise<Watched> {
  const watched = newServer(options);
  await watched.server.listen();
  return watched;
}

function list(directory: string): string[] {
  return fs.existsSync(directory) ? fs.readdirSync(directory) : [];
}

describe('Listener', () => {
  describe('opening', () => {
    it('is the same when asked for twice', async () => {
      // The second one found a server that listens, failed, and its cleaning up closed the first.
      const path = tempSocketPath();
      const { server } = newServer({ path });
      await Promise.all([server.listen(), server.listen()]);
      await server.listen();
      await connectByHand({ path });
      expect(server.connectionCount).toBe(1);
    });

    it('may be tried again after it has failed', async () => {
      const path = tempSocketPath();
      const first = await startServer({ path });
      const second = newServer({ path });
      await expect(second.server.listen()).rejects.toThrow(AddressInUseError);
      await first.server.close();
      await second.server.listen();
      await connectByHand({ path });
      expect(second.server.connectionCount).toBe(1);
    });

    it.each(['path', 'port'])('fails after closing, on a %s', async (kind) => {
      const path = tempSocketPath();
      const { server } = newServer(kind === 'path' ? { path } : { port: 0 });
      await server.close();
      await expect(server.listen()).rejects.toThrow(ListenError);
      expect(server.netServer.listening).toBe(false);
      expect(list(dirname(path))).toEqual([]);
    });

    it('leaves nothing behind when it fails after binding', async () => {
      const path = tempSocketPath();
      const { server } = newServer({ path, group: 54_321 });
      jest.spyOn(fs, 'chownSync').mockImplementation(() => {
        throw Object.assign(new Error('operation not permitted'), { code: 'EPERM' });
      });
      await expect(server.listen()).rejects.toThrow(ListenError);
      jest.restoreAllMocks();
      expect(server.netServer.listening).toBe(false);
      expect(list(dirname(path))).toEqual([]);
    });
  });

  describe('closing', () => {
    it('while it opens leaves nothing behind', async () => {
      // What was opened after closing had looked stayed open.
      const path = tempSocketPath();
      await leaveDeadSocket(path);
      const { server } = newServer({ path });
      const opening = server.listen();
      await server.close();
      await opening;
      expect(server.netServer.listening).toBe(false);
      expect(list(dirname(path))).toEqual([]);
    });

    it('tells everybody who had connected before', async () => {
      // One connection is accepted in a turn of the event loop; those beyond the second were reset.
      const path = tempSocketPath();
      const { server } = await startServer({ path });
      const connecting = Promise.all(Array.from({ length: 100 }, () => RawPeer.connect({ path })));
      const closing = server.close();
      const peers = await connecting;
      for (const peer of peers) {
        const { msg_type: type } = await peer.next();
        expect(['response', 'error']).toContain(type);
        await gone(peer);
        expect(peer.error).toBeUndefined();
        peer.destroy();
      }
      await closing;
    });

    it('gives up the path at once, and ends when nobody is left', async () => {
      const path = tempSocketPath();
      const { server } = await startServer({ path });
      const peer = await connectByHand({ path }, { isUpgraded: false });
      const closing = server.close();
      await until(() => list(dirname(path)).length === 0);
      await gone(peer);
      peer.destroy();
      await expect(closing).resolves.toEqual({
        cancelled: 0,
        unanswered: 0,
        unfinishedConnections: expect.any(Number),
      });
    });
  });

  describe('watching', () => {
    it('tells that the path vanished, and is back', async () => {
      const path = tempSocketPath();
      const { news } = await startServer({ path, pathWatchIntervalMs: WATCH_MS });
      fs.unlinkSync(path);
      await until(() => news.length === 2);
      expect(news).toEqual([expect.stringContaining('vanished'), 'restored']);
    });

    it('listens on a new socket when the directory vanished, and keeps its connections', async () => {
      const directory = join(tempDir(), 'd');
      const path = join(directory, 's.sock');
      const { server, news } = await startServer({ path, pathWatchIntervalMs: WATCH_MS });
      const before = await connectByHand({ path });
      fs.rmSync(directory, { recursive: true });
      await until(() => news.length === 2);
      expect(news).toEqual([expect.stringContaining('vanished'), 'restored']);
      const after = await connectByHand({ path });
      await heard(before);
      await heard(after);
      expect(server.connectionCount).toBe(2);
      // The new one is watched, and closed, as the first one was.
      fs.rmSync(directory, { recursive: true });
      await until(() => news.length === 4);
      await connectByHand({ path });
      await server.close();
      expect(list(directory)).toEqual([]);
    });

    it.each([
      ['before', (close: () => void) => close()],
      ['while', queueMicrotask],
    ])('closes %s it makes a new socket', async (_when, then) => {
      const directory = join(tempDir(), 'd');
      const path = join(directory, 's.sock');
      const { server, news } = await startServer({ path, pathWatchIntervalMs: WATCH_MS });
      jest.spyOn(news, 'push').mockImplementationOnce(() => {
        then(() => void server.close());
        return 0;
      });
      fs.rmSync(directory, { recursive: true });
      await until(() => server.isClosing);
      await server.close();
      expect(server.netServer.listening).toBe(false);
      expect(list(directory)).toEqual([]);
    });

    it('leaves the path to a server that was faster, and says so once', async () => {
      const directory = join(tempDir(), 'd');
      const path = join(directory, 's.sock');
      const { news } = await startServer({ path, accountId: 'faster', pathWatchIntervalMs: 0 });
      const watched = await startServer({ path: tempSocketPath(), pathWatchIntervalMs: WATCH_MS });
      const watchedPath = (watched.server.endpoint as { path: string }).path;
      fs.renameSync(path, watchedPath);
      await until(() => watched.news.length > 0);
      await new Promise((resolve) => setTimeout(resolve, 5 * WATCH_MS));
      expect(watched.news).toEqual([expect.stringContaining('another socket')]);
      await expect(whoAnswers(watchedPath)).resolves.toBe('faster');
      expect(news).toEqual([]);
    });
  });
});
