import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { SendQueue } from '../../../lib/connection/send-queue.js';
import { SplitFrame, type Frame } from '../../../lib/protocol/frame-writer.js';
import { frameBytes } from '../../support/frame-bytes.js';
import { tempSocketPath } from '../../support/temp-paths.js';

const MIB = 1024 * 1024;

/** Frames of all sizes, by turns as strings and bytes, each saying which one it is. */
function mixedFrames(count: number): Frame[] {
  return Array.from({ length: count }, (_, i) => {
    const text = `[${i}]`.padEnd([4, 100, 3_000, 40_000][i % 4] as number, 'x');
    if (i % 5 === 4) return new SplitFrame(text, Buffer.from(`{${i}}`), i % 2 === 0 ? `(${i})` : '');
    return i % 3 === 1 ? Buffer.from(text) : text;
  });
}

function joined(frames: readonly Frame[]): Buffer {
  return Buffer.concat(frames.map((frame) => frameBytes(frame)));
}

/** A queue whose stream takes all at once, and the writes it got. */
function gatherer(): { gathering: SendQueue; writes: string[] } {
  const writes: string[] = [];
  const stream = new Duplex({
    decodeStrings: false,
    read: () => undefined,
    write: (chunk: string | Buffer, _encoding, done) => {
      writes.push(chunk.toString());
      done();
    },
  });
  return { gathering: new SendQueue(stream), writes };
}

describe('SendQueue', () => {
  let server: Server;
  let near: Socket;
  let far: Socket;
  let queue: SendQueue;

  beforeEach(async () => {
    server = createServer();
    server.listen(tempSocketPath());
    await once(server, 'listening');
    near = connect(server.address() as string);
    [far] = (await once(server, 'connection')) as [Socket];
    queue = new SendQueue(near);
  });

  afterEach(async () => {
    near.destroy();
    far.destroy();
    await new Promise((resolve) => server.close(resolve));
  });

  /** What the far end has got once there is so much of it. */
  async function received(bytes: number): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let size = 0;
    far.resume();
    while (size < bytes) {
      const [chunk] = (await once(far, 'data')) as [Buffer];
      chunks.push(chunk);
      size += chunk.length;
    }
    return Buffer.concat(chunks);
  }

  it.each([
    ['in one turn', false],
    ['over many turns', true],
  ])('keeps strings and bytes in order for a peer that reads: %s', async (_, isSpread) => {
    const frames = mixedFrames(400);
    const all = joined(frames);
    const arrival = received(all.length);
    for (const [i, frame] of frames.entries()) {
      queue.push(frame);
      if (isSpread && i % 7 === 0) await new Promise(setImmediate);
    }
    expect(all.equals(await arrival)).toBe(true);
    expect(queue.queuedBytes).toBe(0);
  });

  it('keeps them in order under back-pressure, and counts what waits', async () => {
    const frames = mixedFrames(600);
    const all = joined(frames);
    far.pause();
    const flushed: number[] = [];
    for (const [i, frame] of frames.entries()) {
      queue.push(frame, { onFlushed: (error) => flushed.push(error ? -1 : i) });
      if (i % 50 === 0) await new Promise(setImmediate);
    }
    // The kernel took some of it, on Linux about 200 kB.
    expect(queue.queuedBytes).toBeGreaterThan(all.length / 2);
    expect(queue.queuedBytes).toBeLessThan(all.length);
    expect(flushed.length).toBeLessThan(frames.length);
    const seen = await received(all.length);
    expect(all.equals(seen)).toBe(true);
    expect(flushed).toEqual([...frames.keys()]);
    expect(queue.queuedBytes).toBe(0);
  });

  it('writes the first frame of a turn at once, and gathers those behind it', async () => {
    const { gathering, writes } = gatherer();
    gathering.push('first|');
    for (let i = 0; i < 5; i++) gathering.push(`${i}|`);
    expect(gathering.queuedBytes).toBe(10);
    await new Promise(setImmediate);
    expect(writes).toEqual(['first|', '0|1|2|3|4|']);
  });

  it('gathers the first one too when the turn before brought several, until one comes alone again', async () => {
    const { gathering, writes } = gatherer();
    for (const frames of [['a', 'b'], ['c', 'd'], ['e'], ['f', 'g']]) {
      for (const frame of frames) gathering.push(`${frame}|`);
      await new Promise(setImmediate);
    }
    expect(writes).toEqual(['a|', 'b|', 'c|d|', 'e|', 'f|', 'g|']);
  });

  it('writes a group before the turn ends once it has 1.5 KiB', () => {
    const { gathering, writes } = gatherer();
    const frame = 'x'.repeat(512);
    for (let i = 0; i < 4; i++) gathering.push(frame);
    expect(writes.map(({ length }) => length)).toEqual([512, 1536]);
  });

  it('gathers while the socket is backed up, and hands everything on by flush(), drained or not', async () => {
    far.pause();
    queue.push(Buffer.alloc(4 * MIB));
    const { writableLength } = near;
    queue.push('behind');
    await new Promise(setImmediate);
    expect([near.writableLength, queue.queuedBytes]).toEqual([writableLength, writableLength + 6]);
    queue.flush();
    expect(near.writableLength).toBe(queue.queuedBytes);
    near.end();
    const seen = await received(4 * MIB + 6);
    expect(seen.toString('latin1', 4 * MIB)).toBe('behind');
  });

  it('tells everybody who waits when it is closed, and takes nothing more', async () => {
    far.pause();
    queue.push(Buffer.alloc(4 * MIB));
    const errors: unknown[] = [];
    const listener = { onFlushed: (error: unknown) => errors.push(error) };
    queue.push('waiting', listener);
    queue.push(Buffer.from('waiting too'), listener);
    const reason = new Error('gone');
    queue.close(reason);
    queue.close(new Error('again'));
    expect(errors).toEqual([reason, reason]);
    queue.push('late', listener);
    expect(errors[2]).toBeInstanceOf(Error);
    expect(queue.queuedBytes).toBe(near.writableLength);
    near.destroy();
    await once(near, 'close');
    expect(near.listenerCount('drain')).toBe(0);
  });

  it('reports the error of a write that failed', async () => {
    near.on('error', () => {});
    far.pause();
    const outcome = new Promise((resolve) => queue.push(Buffer.alloc(4 * MIB), { onFlushed: resolve }));
    far.destroy();
    // Not an Error of this realm: jest runs tests in one of their own.
    expect(await outcome).toMatchObject({ code: expect.stringMatching(/EPIPE|ECONNRESET/) });
  });
});
