import fc from 'fast-check';
import { FrameTooLargeError } from '../../../lib/errors/protocol.errors.js';
import { FrameReader } from '../../../lib/protocol/frame-reader.js';
import { recordedFrames } from '../../support/fixtures.js';
import { caught } from '../../support/caught.js';
import { frame } from '../../support/frames.js';

const MIB = 1024 * 1024;

/** A reader, the bodies it has handed on, copied, and the texts that came with them, which have to be theirs. */
function newReader(maxFrameBytes = 16 * MIB) {
  const bodies: Buffer[] = [];
  const texts: (string | undefined)[] = [];
  const reader = new FrameReader(
    {
      onFrame: (bytes, start, end, text) => {
        const body = Buffer.from(bytes.subarray(start, end));
        if (text !== undefined && text !== body.toString())
          throw new Error(`Not the text of ${body.toString()}`);
        bodies.push(body);
        texts.push(text);
      },
    },
    maxFrameBytes,
  );
  return { reader, bodies, texts };
}

/** The stream cut behind each of `ends`, each piece in memory of its own as a socket's chunks are. */
function cut(stream: Buffer, ends: readonly number[]): Buffer[] {
  const bounds = [0, ...[...ends].sort((a, b) => a - b), stream.length];
  return bounds.slice(1).map((end, i) => Buffer.from(stream.subarray(bounds[i], end)));
}

/** @param isLent each chunk is overwritten once it has been read */
function read(chunks: readonly Buffer[], isLent = false): Buffer[] {
  const { reader, bodies } = newReader();
  for (const chunk of chunks) {
    reader.push(chunk, isLent);
    if (isLent) chunk.fill(0xff);
  }
  expect(reader.hasPartialFrame).toBe(false);
  return bodies;
}

function header(length: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(length);
  return bytes;
}

describe('FrameReader', () => {
  const recorded = recordedFrames('v2');

  it.each(recorded.filter((row) => row.rebuild === undefined))(
    'yields the recorded frame $name at every split of the stream',
    ({ bytes }) => {
      const body = bytes.subarray(4);
      // One comparison for all splits: 500 expectations for each of 73 rows would take longer than the rest.
      const wrong = [...bytes.keys()].filter((at) => {
        const { reader, bodies } = newReader();
        for (const chunk of cut(bytes, [at])) reader.push(chunk);
        return reader.hasPartialFrame || bodies.length !== 1 || !body.equals(bodies[0] as Buffer);
      });
      expect(wrong).toEqual([]);
    },
  );

  it.each(recorded.filter((row) => row.rebuild !== undefined))(
    'yields the long recorded frame $name whole, in chunks and in pieces of a socket',
    ({ bytes, length }) => {
      expect(bytes).toHaveLength(length as number);
      const body = bytes.subarray(4);
      const every = (size: number): number[] =>
        Array.from({ length: Math.floor(bytes.length / size) }, (_, i) => (i + 1) * size);
      for (const ends of [[], [1], [4], [5], [bytes.length - 1], every(65_536), every(1_447)]) {
        const [only, ...others] = read(cut(bytes, ends));
        expect(others).toEqual([]);
        expect(body.equals(only as Buffer)).toBe(true);
      }
    },
  );

  it('joins large frames from pieces of all sizes, in whatever order these come', () => {
    const size = fc.constantFrom(1, 3, 4, 5, 1_000, 16_383, 16_384, 16_385, 65_536, 100_000);
    const lengths = fc.array(fc.constantFrom(0, 1, 16_380, 65_532, 65_533, 200_000), {
      minLength: 1,
      maxLength: 3,
    });
    fc.assert(
      fc.property(
        lengths,
        fc.array(size, { minLength: 1, maxLength: 12 }),
        fc.boolean(),
        (bodyLengths, sizes, isLent) => {
          const bodies = bodyLengths.map((length, i) => Buffer.alloc(length, `${i}abc`));
          const stream = Buffer.concat(bodies.map((body) => frame(body)));
          const chunks: Buffer[] = [];
          for (let at = 0, i = 0; at < stream.length; i++) {
            const end = at + (sizes[i % sizes.length] as number) * (i > 2_000 ? 100 : 1);
            chunks.push(Buffer.from(stream.subarray(at, end)));
            at = end;
          }
          const seen = read(chunks, isLent);
          expect(seen.map(({ length }) => length)).toEqual(bodyLengths);
          expect(Buffer.concat(seen).equals(Buffer.concat(bodies))).toBe(true);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('reads small ASCII frames that come together together, whatever their lengths, and leaves the chunk as it was', () => {
    const small = [0, 1, 0x7f, 0x80, 0xff, 0x100].map((length) => 'x'.repeat(length));
    const chunk = Buffer.concat([...small.map((text) => frame(text)), frame('cut off').subarray(0, 6)]);
    const before = Buffer.from(chunk);
    const { reader, texts } = newReader();
    reader.push(chunk);
    expect(texts).toEqual(small);
    expect(chunk.equals(before)).toBe(true);
    reader.push(frame('cut off').subarray(6));
    expect(texts.at(-1)).toBeUndefined();
  });

  it.each<[string, string[]]>([
    ['one alone', ['x']],
    ['one that is not ASCII', ['a', 'ä', 'b']],
    ['a control byte beyond ASCII', ['a', Buffer.from([0x01, 0x80]).toString('latin1')]],
    ['large ones', ['x'.repeat(3_000), 'y'.repeat(3_000)]],
  ])('leaves it to others to read %s', (_, bodies) => {
    const { reader, texts } = newReader();
    reader.push(Buffer.concat(bodies.map((text) => frame(text))));
    expect(texts).toEqual(bodies.map(() => undefined));
  });

  it('yields the same frames at every pair of splits of a stream of small, empty and larger frames', () => {
    const bodies = ['', 'a', '', '{"n":1}', 'x'.repeat(20), ''].map((text) => Buffer.from(text));
    const stream = Buffer.concat(bodies.map((body) => frame(body)));
    for (let first = 0; first <= stream.length; first++) {
      for (let second = first; second <= stream.length; second++) {
        const seen = read(cut(stream, [first, second]));
        if (seen.join('|') !== bodies.join('|'))
          throw new Error(`Cut at ${first} and ${second}: ${seen.join('|')}`);
      }
    }
  });

  it('yields any frames however the stream is cut', () => {
    const anyFrames = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 12 });
    fc.assert(
      fc.property(anyFrames, fc.array(fc.nat(4_000), { maxLength: 40 }), (bodies, ends) => {
        const stream = Buffer.concat(bodies.map((body) => frame(Buffer.from(body))));
        const seen = read(
          cut(
            stream,
            ends.map((end) => end % (stream.length + 1)),
          ),
        );
        expect(seen.map((body) => body.toString('hex'))).toEqual(
          bodies.map((body) => Buffer.from(body).toString('hex')),
        );
      }),
    );
  });

  it('hands on a frame without a body as soon as its header is there', () => {
    const { reader, bodies } = newReader();
    reader.push(Buffer.from([0, 0]));
    expect(bodies).toHaveLength(0);
    reader.push(Buffer.from([0, 0]));
    expect(bodies).toEqual([Buffer.alloc(0)]);
  });

  it('says whether a frame has begun', () => {
    const { reader } = newReader();
    const states = [Buffer.from([0]), Buffer.from([0, 0, 2]), Buffer.from('a'), Buffer.from('b')].map(
      (chunk) => {
        reader.push(chunk);
        return reader.hasPartialFrame;
      },
    );
    expect(states).toEqual([true, true, true, false]);
  });

  it('takes a body of exactly the limit', () => {
    const { reader, bodies } = newReader(100);
    reader.push(frame('x'.repeat(100)));
    expect(bodies).toHaveLength(1);
  });

  it.each([
    ['one byte above the limit', header(101), [4]],
    ['one byte above the limit, in pieces', header(101), [1, 2, 3]],
    ['4 GiB', header(0xffff_ffff), [2]],
    ['above the limit behind whole frames', Buffer.concat([frame('a'), frame('b'), header(101)]), [7, 12]],
  ])('refuses a header that claims %s, before any of the body came', (_, stream, ends) => {
    const { reader } = newReader(100);
    const declared = stream.readUInt32BE(stream.length - 4);
    const error = caught(() => cut(stream, ends).forEach((chunk) => reader.push(chunk)));
    expect(error).toBeInstanceOf(FrameTooLargeError);
    expect(error).toMatchObject({ bytes: declared, limitBytes: 100 });
  });

  it('collects a large frame byte by byte', () => {
    const body = Buffer.alloc(2 * MIB, 'abcdefg');
    const { reader, bodies } = newReader();
    const stream = frame(body);
    for (let i = 0; i < stream.length; i++) reader.push(stream.subarray(i, i + 1));
    expect(bodies).toHaveLength(1);
    expect(body.equals(bodies[0] as Buffer)).toBe(true);
  });

  it.each([
    ['its own', false],
    ['lent', true],
  ])(
    'keeps memory in proportion to what really came, whatever the headers claim, of chunks that are %s',
    (_, isLent) => {
      const before = process.memoryUsage().arrayBuffers;
      const readers = Array.from({ length: 100 }, () => newReader(0xffff_ffff).reader);
      const chunk = Buffer.alloc(1_000);
      for (const reader of readers) {
        reader.push(header(1024 * MIB), isLent);
        for (let i = 0; i < 20; i++) reader.push(chunk, isLent);
      }
      expect(readers.every((reader) => reader.hasPartialFrame)).toBe(true);
      // 2 MB came; all the buffers on the way to twice that, should none have been collected yet, are four times it.
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(12 * MIB);
    },
  );

  it('hands on nothing more once stopped, not even the rest of the chunk at hand', () => {
    const seen: string[] = [];
    const reader = new FrameReader(
      {
        onFrame: (bytes, start, end) => {
          seen.push(bytes.toString('latin1', start, end));
          if (seen.length === 2) reader.stop();
        },
      },
      100,
    );
    reader.push(Buffer.concat([frame('one'), frame('two'), frame('three'), header(5)]));
    reader.push(frame('four'));
    reader.push(header(101));
    expect(seen).toEqual(['one', 'two']);
    expect(reader.hasPartialFrame).toBe(false);
  });

  it('drops a partial frame once stopped', () => {
    const { reader, bodies } = newReader();
    reader.push(frame('abc').subarray(0, 5));
    reader.stop();
    expect(reader.hasPartialFrame).toBe(false);
    reader.push(Buffer.from('bc'));
    expect(bodies).toEqual([]);
  });

  it('goes on with the next frame after a sink that threw', () => {
    let count = 0;
    const reader = new FrameReader(
      {
        onFrame: () => {
          if (++count === 1) throw new Error('bad body');
        },
      },
      100,
    );
    expect(() => reader.push(frame('x'))).toThrow('bad body');
    for (const chunk of cut(frame('abc'), [2, 5])) reader.push(chunk);
    expect(count).toBe(2);
  });
});
