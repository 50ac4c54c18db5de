import 'reflect-metadata';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Controller } from '@nestjs/common';
import { Ctx, EventPattern, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { RemoteError, RequestTimeoutError, Signal, UnixSocketContext } from 'nestjs-unix-socket';
import {
  EMPTY,
  finalize,
  firstValueFrom,
  from,
  interval,
  lastValueFrom,
  toArray,
  type Observable,
} from 'rxjs';
import { atEnd } from '../support/at-end.js';
import { makeClient, startNestServer } from '../support/nest-server.js';
import { describeWithPython, driverAddress, unusedAddress } from '../support/python-endpoints.js';
import { findPython } from '../support/python-process.js';
import { until } from '../support/until.js';
import { connectByHand, nextResponse, request } from '../support/wire.js';

const SCRIPT = join(__dirname, '../support/python/package_peer.py');

/** The package in a process of its own. `lines` are what it printed, one JSON value each. */
function startPeer(role: 'client' | 'server', address: string): { lines: unknown[]; end(): Promise<number> } {
  const child = spawn(findPython() as string, ['-W', 'error::ResourceWarning', SCRIPT, role, address], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines: unknown[] = [];
  createInterface(child.stdout).on('line', (line) => lines.push(JSON.parse(line)));
  const closed = new Promise<number>((resolve) => child.on('close', (code) => resolve(code ?? -1)));
  const end = (): Promise<number> => {
    child.stdin.end();
    return closed;
  };
  atEnd(() => {
    child.kill('SIGKILL');
    return closed;
  });
  return { lines, end };
}

let notes: unknown[] = [];
let aborted = 0;

@Controller()
class PackageController {
  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown {
    return data;
  }

  @MessagePattern('count')
  count(@Payload() to: number): Observable<number> {
    return from(Array.from({ length: to }, (_, n) => n));
  }

  @MessagePattern('meta')
  meta(@Ctx() context: UnixSocketContext): unknown {
    return context.getMetadata();
  }

  @MessagePattern('fail')
  fail(@Payload() message: string): never {
    throw new RpcException({ message, code: 'ODD' });
  }

  @MessagePattern('hold')
  hold(@Signal() signal: AbortSignal): Promise<void> {
    return new Promise((resolve) =>
      signal.addEventListener('abort', () => {
        aborted++;
        resolve();
      }),
    );
  }

  @MessagePattern('endless')
  endless(): Observable<number> {
    return interval(1).pipe(finalize(() => aborted++));
  }

  @EventPattern('note')
  note(@Payload() data: unknown): typeof EMPTY {
    notes.push(data);
    return EMPTY;
  }

  @MessagePattern('join')
  join(@Payload() room: string, @Ctx() context: UnixSocketContext): boolean {
    const connection = context.getConnection();
    connection.join(room);
    for (let n = 0; n < 3; n++) connection.push('tick', { n });
    return true;
  }
}

describeWithPython('The Python package', (kind) => {
  beforeEach(() => {
    notes = [];
    aborted = 0;
  });

  it('uses all that a Nest server offers, and leaves nothing behind', async () => {
    const options = { ...(await unusedAddress(kind)), accountId: 'nest' };
    const { server } = await startNestServer({ controllers: [PackageController] }, options);
    const peer = startPeer('client', driverAddress(server.endpoint));
    expect(await peer.end()).toBe(0);
    expect(peer.lines).toEqual([
      {
        echo: { text: '你好', list: [1, null] },
        bytes: '00ff',
        stream: [0, 1, 2, 3],
        last: 3,
        meta: { trace: 't1' },
        fail: ['text', 'ODD', 'replied'],
        unknown: 'UNKNOWN_PATTERN',
        timeout: 'sentNoReply',
        pushes: [0, 1, 2].map((n) => ['tick', { n }]),
        many: (499 * 500) / 2,
        healthy: true,
        upgraded: true,
        tasks: 0,
      },
    ]);
    expect(notes).toEqual(['event', 'acknowledged']);
    expect(aborted).toBe(2);
  });

  it('offers all that a Nest client uses, and leaves nothing behind', async () => {
    const address = await unusedAddress(kind);
    const peer = startPeer('server', driverAddress(address));
    await until(() => peer.lines.length > 0);
    const client = makeClient({ ...address });
    await client.connect();
    expect(await client.request('echo', { raw: Buffer.from('00ff', 'hex'), text: '你好' })).toEqual({
      raw: Buffer.from('00ff', 'hex'),
      text: '你好',
    });
    expect(await lastValueFrom(client.send('count', 4).pipe(toArray()))).toEqual([0, 1, 2, 3]);
    const looped: unknown[] = [];
    for await (const number of client.stream('count', 4)) looped.push(number);
    expect(looped).toEqual([0, 1, 2, 3]);
    // It knows no credit, and takes it for nothing.
    const byHand = await connectByHand(address);
    await byHand.send(request('1', 'count', 2, { credit: 0 }));
    for (const data of [0, 1]) expect(await nextResponse(byHand, '1')).toMatchObject({ data, more: true });
    expect(await nextResponse(byHand, '1')).toMatchObject({ end: true });
    byHand.destroy();

    await firstValueFrom(client.send('endless', {}));
    const timedOut = await client.request('hold', null, { timeoutMs: 50 }).catch((error: unknown) => error);
    expect(timedOut).toBeInstanceOf(RequestTimeoutError);
    await until(async () => (await client.request('cancelled', null)) === 2);
    const failed = await client.request('fail', 'text').catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(RemoteError);
    expect(failed).toMatchObject({ message: 'text', code: 'ODD', delivery: 'replied' });
    await expect(client.request('nope', null)).rejects.toMatchObject({ code: 'UNKNOWN_PATTERN' });
    await lastValueFrom(client.emit('note', 'event'), { defaultValue: undefined });
    await until(async () => ((await client.request('notes', null)) as unknown[]).length === 1);

    const pushes: unknown[] = [];
    client.pushes().subscribe(({ type, data }) => pushes.push([type, data]));
    expect(await client.request('join', 'room', { meta: { trace: 't1' } })).toEqual({ trace: 't1' });
    await until(() => pushes.length === 2);
    expect(pushes).toEqual([
      ['all', 1],
      ['room', { raw: Buffer.from('ff', 'hex') }],
    ]);
    expect(await client.healthCheck()).toBeTruthy();
    expect(await peer.end()).toBe(0);
    expect(peer.lines.slice(1)).toEqual([{ tasks: 0 }]);
  });
});
