import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { MemoryEndpoint, MemoryStream } from 'nestjs-unix-socket/testing';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Everything that a stream tells, in order; data as text. */
function record(stream: Duplex): string[] {
  const seen: string[] = [];
  stream.on('data', (chunk: Buffer) => seen.push(chunk.toString()));
  for (const name of ['end', 'close', 'finish'] as const) stream.on(name, () => seen.push(name));
  stream.on('error', (error: NodeJS.ErrnoException) => seen.push(error.code ?? error.message));
  return seen;
}

describe('MemoryStream', () => {
  let left: MemoryStream;
  let right: MemoryStream;

  beforeEach(() => {
    [left, right] = MemoryStream.pair();
  });

  afterEach(() => {
    left.destroy();
    right.destroy();
  });

  it('hands what is written to one end to the other, in order, both ways', async () => {
    const [atLeft, atRight] = [record(left), record(right)];
    left.write('a');
    right.write('1');
    left.write(Buffer.from([0xc3, 0xa9]));
    right.write('é', 'latin1');
    await turn();
    expect(atRight.join('')).toBe('aé');
    expect(Buffer.from(atLeft.join(''))).toEqual(Buffer.from('1\ufffd'));
  });

  it('carries megabytes unchanged', async () => {
    const sent = Buffer.alloc(8 * 1024 * 1024, 'abcdefghijk');
    const received: Buffer[] = [];
    right.on('data', (chunk: Buffer) => received.push(chunk));
    for (let start = 0; start < sent.length; start += 100_000)
      left.write(sent.subarray(start, start + 100_000));
    left.end();
    await once(right, 'end');
    expect(Buffer.concat(received).equals(sent)).toBe(true);
  });

  it('holds back a writer whose reader does not read', async () => {
    const chunk = Buffer.alloc(64 * 1024);
    const confirmed: number[] = [];
    let accepted = true;
    for (let n = 0; n < 16; n++) accepted = left.write(chunk, () => confirmed.push(n)) && accepted;
    await turn();
    expect(accepted).toBe(false);
    expect(confirmed.length).toBeLessThan(3);
    expect(left.writableLength).toBeGreaterThan(0);

    let bytes = 0;
    right.on('data', (data: Buffer) => (bytes += data.length));
    await once(left, 'drain');
    await turn();
    expect(confirmed).toEqual([...Array(16).keys()]);
    expect(bytes).toBe(16 * chunk.length);
  });

  it('lets one end go on when the other has ended its side, and closes when both have', async () => {
    const [atLeft, atRight] = [record(left), record(right)];
    left.end('bye');
    await turn();
    expect(atRight).toEqual(['bye', 'end']);
    expect(atLeft).toEqual(['finish']);
    right.write('not yet');
    await turn();
    right.end();
    await turn();
    expect(atLeft).toEqual(['finish', 'not yet', 'end', 'close']);
    expect(atRight).toEqual(['bye', 'end', 'finish', 'close']);
  });

  it('shows the end, behind what was written, when the other end is destroyed', async () => {
    const [atLeft, atRight] = [record(left), record(right)];
    left.write('last words');
    left.destroy();
    await turn();
    expect(atLeft).toEqual(['close']);
    expect(atRight).toEqual(['last words', 'end']);

    right.write('anybody there?');
    await turn();
    expect(atRight.slice(2)).toEqual(['EPIPE', 'close']);
  });

  it('keeps an error to the end that it was destroyed with', async () => {
    const [atLeft, atRight] = [record(left), record(right)];
    left.destroy(new Error('trouble'));
    await turn();
    expect(atLeft).toEqual(['trouble', 'close']);
    expect(atRight).toEqual(['end']);
  });

  it('fails the write that the other end had not read when it was destroyed', async () => {
    const outcomes: (string | undefined)[] = [];
    left.on('error', () => undefined);
    for (let n = 0; n < 4; n++)
      left.write(Buffer.alloc(64 * 1024), (error) =>
        outcomes.push((error as NodeJS.ErrnoException | null | undefined)?.code),
      );
    await turn();
    const confirmed = outcomes.length;
    right.destroy();
    await turn();
    expect(outcomes).toHaveLength(4);
    expect(outcomes.slice(0, confirmed)).toEqual(Array(confirmed).fill(undefined));
    expect(outcomes[confirmed]).toBe('EPIPE');
    expect(left.destroyed).toBe(true);
  });

  it('says nothing of an end that was over before', async () => {
    const atRight = record(right);
    left.end();
    await turn();
    left.destroy();
    right.end();
    await turn();
    expect(atRight).toEqual(['end', 'finish', 'close']);
  });
});

describe('MemoryEndpoint', () => {
  it('refuses connections while nobody listens, as a socket would', async () => {
    const endpoint = new MemoryEndpoint();
    const stream = endpoint.connect();
    const seen = record(stream);
    expect(seen).toEqual([]);
    await turn();
    expect(seen).toEqual(['ECONNREFUSED', 'close']);
  });

  it('gives each connection a stream of its own', async () => {
    const endpoint = new MemoryEndpoint('here');
    const stop = endpoint.listen((stream) => stream.on('data', (data) => stream.write(`${String(data)}!`)));
    const clients = ['a', 'b', 'c'].map((name) => {
      const stream = endpoint.connect();
      stream.write(name);
      return { stream, seen: record(stream) };
    });
    await turn();
    expect(clients.map(({ seen }) => seen)).toEqual([['a!'], ['b!'], ['c!']]);
    expect(endpoint.label).toBe('here');
    stop();
    for (const { stream } of clients) stream.destroy();
  });

  it('leaves connections alone when it is not listened to any more', async () => {
    const endpoint = new MemoryEndpoint();
    const stop = endpoint.listen((stream) => stream.pipe(stream));
    const stream = endpoint.connect();
    const seen = record(stream);
    stop();
    stream.write('still there');
    await turn();
    expect(seen).toEqual(['still there']);
    const refused = endpoint.connect();
    const [error] = (await once(refused, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toBe('ECONNREFUSED');
    stream.destroy();
  });

  it('is taken while somebody listens, and free again afterwards', () => {
    const endpoint = new MemoryEndpoint();
    const stop = endpoint.listen(() => undefined);
    expect(() => endpoint.listen(() => undefined)).toThrow(
      expect.objectContaining({ code: 'ADDRESS_IN_USE' }) as Error,
    );
    stop();
    const stopNext = endpoint.listen(() => undefined);
    // The first has nothing to say any more.
    stop();
    const stream = endpoint.connect();
    expect(stream.destroyed).toBe(false);
    stream.destroy();
    stopNext();
  });

  it('cuts every connection on drop(), and takes new ones', async () => {
    const endpoint = new MemoryEndpoint();
    const servers: string[][] = [];
    endpoint.listen((stream) => servers.push(record(stream)));
    const clients = [endpoint.connect(), endpoint.connect()].map(record);
    await turn();
    endpoint.drop();
    await turn();
    for (const seen of [...clients, ...servers]) expect(seen).toContain('close');

    const seen = record(endpoint.connect());
    await turn();
    expect(seen).toEqual([]);
    expect(servers).toHaveLength(3);
    endpoint.drop();
  });
});
