import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { SocketServer, UnixSocketClientProxy } from 'nestjs-unix-socket';
import { atEnd } from '../support/at-end.js';
import { tempSocketPath } from '../support/temp-paths.js';
import { until } from '../support/until.js';

const SCRIPT = join(__dirname, '..', 'support', 'python', 'version_1.py');
const GENERATIONS = ['first', 'later'] as const;

function python(...args: string[]): { child: ChildProcessWithoutNullStreams; lines: Interface } {
  const child = spawn('python3', [SCRIPT, ...args], { stdio: 'pipe' });
  child.stderr.pipe(process.stderr);
  atEnd(async () => {
    child.stdin.end();
    if (child.exitCode === null) await once(child, 'exit');
  });
  return { child, lines: createInterface(child.stdout) };
}

/** What a client of this generation says it saw; pushed to once it has made its requests. */
async function runClient(server: SocketServer, path: string, generation: string): Promise<object> {
  const report = {};
  for await (const line of python('client', path, generation).lines) {
    const said = JSON.parse(line) as object;
    Object.assign(report, said);
    if ('ping' in said) server.push('tick', { n: 1 });
  }
  return report;
}

async function serve(options: object): Promise<{ server: SocketServer; path: string }> {
  const path = tempSocketPath();
  const server = new SocketServer({ path, accountId: 'acc1', ...options });
  server.handle('echo', (data: unknown) => ({ echo: data }));
  server.handle('fails', () => {
    throw new Error('boom');
  });
  await server.listen();
  atEnd(() => server.close());
  return { server, path };
}

describe('a V1 client in Python', () => {
  const seen = (echoed: unknown) => ({
    connected: true,
    echo: [{ echo: echoed }, null],
    fails: [null, 'boom'],
    ping: [{ status: 'ok' }, null],
    push: ['tick', { n: 1 }],
    'still connected': true,
    'more pushes': 0,
  });
  const echoed = { text: '汉字 😀', nan: null, n: 2 ** 60 };

  it.each([{}, { protocols: ['v1'] }, { bigint: true }])(
    'of the first generation is served with %j',
    async (options) => {
      const { server, path } = await serve(options);
      expect(await runClient(server, path, 'first')).toEqual(seen(echoed));
    },
  );

  it('of the later generation is served where results stand in "message"', async () => {
    const { server, path } = await serve({ v1ResultInMessage: true });
    const [later, first] = await Promise.all(GENERATIONS.map((one) => runClient(server, path, one)));
    expect(later).toMatchObject({
      echo: [{ echo: echoed }, null],
      fails: [null, 'boom'],
      'still connected': true,
    });
    expect(first).toMatchObject({
      echo: [{ echo: echoed }, null],
      fails: [null, 'boom'],
      'still connected': true,
    });
  });
});

describe.each(GENERATIONS)('a V1 server in Python of the %s generation', (generation) => {
  it('answers and pushes to our client', async () => {
    const path = tempSocketPath();
    const { lines } = python('server', path, generation);
    await once(lines, 'line');
    const client = new UnixSocketClientProxy({
      path,
      accountId: 'acc1',
      bigint: true,
      reconnect: { initialDelayMs: 5 },
    });
    atEnd(() => client.close());
    const pushes: unknown[] = [];
    client.onPush('tick', (data) => void pushes.push(data));

    const data = { text: '汉字 😀 \ud83d', n: 2n ** 60n, list: [null, 0, false, ''] };
    expect(await client.request('echo', data)).toEqual({ echo: data });
    await expect(client.request('fails', null)).rejects.toMatchObject({
      message: 'boom',
      delivery: 'replied',
    });
    await expect(client.request('nothing', null)).rejects.toMatchObject({ code: 'UNKNOWN_PATTERN' });
    await expect(client.request('crashes', null)).rejects.toMatchObject(
      generation === 'first'
        ? { code: 'CONNECTION_LOST', delivery: 'sentNoReply' }
        : { message: expect.stringContaining('内部错误') },
    );
    expect(await client.request('push me', { n: 1 })).toBeNull();
    await until(() => pushes.length > 0);
    expect(pushes).toEqual([{ n: 1 }]);
    expect(await client.healthCheck()).toBe(true);
    expect(client.getStats()).toMatchObject({
      protocolVersion: 'v1',
      reconnects: generation === 'first' ? 1 : 0,
    });
  });
});
