import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { MalformedFrameError } from '../../../lib/errors/protocol.errors.js';
import { CompactDialect } from '../../../lib/protocol/compact-dialect.js';
import { END, MORE } from '../../../lib/protocol/envelope.js';
import { FrameReader } from '../../../lib/protocol/frame-reader.js';
import type { Frame } from '../../../lib/protocol/frame-writer.js';
import type { MessageBody } from '../../../lib/protocol/message-body.js';
import { PayloadCodec } from '../../../lib/protocol/payload.js';
import { V2Dialect } from '../../../lib/protocol/v2-dialect.js';
import { frameBytes } from '../../support/frame-bytes.js';

const payloads = new PayloadCodec('msgpack', false);
const compact = new CompactDialect(payloads, false);
const packing = new CompactDialect(payloads, true);
const plain = new V2Dialect(payloads, false);
const JSON_START = 0x7b;

/** What a reader of this dialect makes of frames that come in one chunk. */
function read(frames: readonly Buffer[], dialect: V2Dialect): MessageBody[] {
  const messages: MessageBody[] = [];
  const sink = {
    onFrame(bytes: Buffer, start: number, end: number, text: string | undefined): void {
      messages.push(dialect.decode(bytes, start, end, { dialect }, text) as MessageBody);
    },
  };
  new FrameReader(sink, Infinity).push(Buffer.concat(frames));
  return messages;
}

/** What says something in a message. */
function essence({ msg_type, request_id, data, error, more, end }: MessageBody): object {
  return { msg_type, request_id, data, error: error ?? null, more: more === true, end: end === true };
}

function firstByte(frame: Frame): number {
  return frameBytes(frame)[4] as number;
}

/** Of the heap, after a collection. */
function usedBytes(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return process.memoryUsage().heapUsed;
}

const ids = fc.stringMatching(/^[\w-]{1,40}$/);
const types = fc.oneof(fc.string({ unit: 'grapheme', maxLength: 40 }), fc.string({ maxLength: 130 }));
const values = fc.jsonValue();

describe('compact frames', () => {
  it.each([
    ['JSON', compact],
    ['a codec', packing],
  ])('say what the messages with keys say, with payloads in %s', (_, dialect) => {
    fc.assert(
      fc.property(ids, types, values, fc.boolean(), (id, type, value, isAlone) => {
        const writeAll = (writer: V2Dialect): Buffer[] => {
          const payload = writer.encode(value);
          return [
            writer.request(id, type, payload, '', Infinity),
            writer.push(id, type, payload, '', Infinity) as Frame,
            writer.event(id, type, payload, '', Infinity),
            writer.response(id, payload, '', Infinity),
            writer.response(id, payload, MORE, Infinity),
            writer.response(id, 'null', END, Infinity),
          ].map(frameBytes);
        };
        const expected = read(writeAll(plain), plain).map(essence);
        const frames = writeAll(dialect);
        // Many in a chunk are read as one text, one alone is not.
        const messages = isAlone ? frames.flatMap((frame) => read([frame], dialect)) : read(frames, dialect);
        expect(JSON.stringify(messages.map(essence))).toBe(JSON.stringify(expected));
      }),
    );
  });

  it('are smaller', () => {
    const sizes = [compact, plain].map((dialect) => dialect.request('a-1', 'echo', '1', '', Infinity).length);
    expect(sizes).toEqual([4 + 3 + 3 + 4 + 1, expect.any(Number)]);
    expect(sizes[1]).toBeGreaterThan(100);
  });

  it('take ids and types of up to 127 bytes of ASCII; all others are JSON', () => {
    const fits = 'x'.repeat(127);
    const isJson = (frame: Frame): boolean => firstByte(frame) === JSON_START;
    expect(isJson(compact.request(fits, fits, '1', '', Infinity))).toBe(false);
    expect(isJson(compact.request('1', `${fits}x`, '1', '', Infinity))).toBe(true);
    expect(isJson(compact.request(`${fits}x`, 'echo', '1', '', Infinity))).toBe(true);
    expect(isJson(compact.request('1', 'é', '1', '', Infinity))).toBe(true);
    for (const id of [7, null, 'é', ['a'], `${fits}x`])
      expect(isJson(compact.response(id, '1', '', Infinity))).toBe(true);
    for (const id of [fits, '', 'with "quotes"\n'])
      expect(read([frameBytes(compact.response(id, '1', '', Infinity))], compact)).toMatchObject([
        { request_id: id },
      ]);
  });

  it('are JSON if they say more', () => {
    for (const frame of [
      compact.request('1', 'echo', '1', ',"meta":{}', Infinity),
      compact.push('1', 'echo', '1', ',"ack":true', Infinity) as Frame,
      compact.response('1', '1', ',"packet":true', Infinity),
      compact.failure('1', 'failed', undefined, Infinity),
    ])
      expect(firstByte(frame)).toBe(JSON_START);
  });

  it('count against the limit as they are', () => {
    const frame = compact.response('1', '"four"', '', 9);
    expect(frame.length).toBe(4 + 9);
    expect(() => compact.response('1', '"four!"', '', 9)).toThrow(
      expect.objectContaining({ code: 'FRAME_TOO_LARGE', bytes: 10, limitBytes: 9 }),
    );
  });

  it.each<[string, number[]]>([
    ['no id', [0x02]],
    ['an id that ends behind the frame', [0x04, 3, 0x61, 0x31]],
    ['no type', [0x02, 1, 0x61]],
    ['a type that ends behind the frame', [0x03, 1, 0x61, 200, 0x31]],
    ['no payload', [0x04, 1, 0x61]],
    ['a payload that is no JSON', [0x05, 1, 0x61, 0x7b]],
    ['a payload that is not UTF-8', [0x04, 1, 0x61, 0x22, 0xff, 0x22]],
    ['an end with a payload', [0x06, 1, 0x61, 0x31]],
    ['a kind that does not exist', [0x07, 1, 0x61, 0x31]],
    ['the bytes of a codec that was not agreed on', [0x14, 1, 0x61, 0x01]],
  ])('are malformed with %s', (_, body) => {
    const frame = Buffer.from([0, 0, 0, body.length, ...body]);
    expect(() => read([frame], compact)).toThrow(MalformedFrameError);
    expect(() => read([frame, frame], compact)).toThrow(MalformedFrameError);
  });

  it('are malformed as an end with a payload in a codec', () => {
    const frame = Buffer.from([0, 0, 0, 4, 0x16, 1, 0x61, 0x05]);
    expect(() => read([frame], packing)).toThrow(MalformedFrameError);
  });

  it('are malformed to those who have not agreed on them', () => {
    const frame = frameBytes(compact.response('1', '1', '', Infinity));
    expect(() => read([frame], plain)).toThrow(MalformedFrameError);
  });

  it('of any bytes are a message or malformed', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(2, 3, 4, 5, 6, 0x12, 0x14, 0x16),
        fc.uint8Array({ maxLength: 40 }),
        (kind, rest) => {
          const frame = Buffer.from([0, 0, 0, rest.length + 1, kind, ...rest]);
          try {
            expect(read([frame], packing)).toHaveLength(1);
          } catch (error) {
            expect(error).toBeInstanceOf(MalformedFrameError);
          }
        },
      ),
    );
  });

  it('keep nothing of what came with them', () => {
    // A piece of a text refers to the whole: a call that runs for long would keep all that was read with it.
    const call = frameBytes(compact.request(`${'i'.repeat(20)}-1`, 't'.repeat(30), '1', '', Infinity));
    const others = frameBytes(compact.response('1', `"${'x'.repeat(1_000)}"`, '', Infinity));
    const chunk = [call, ...Array.from({ length: 50 }, () => others)];
    const before = usedBytes();
    const kept = Array.from({ length: 400 }, () => read(chunk, compact)[0]);
    expect(kept[0]).toMatchObject({ request_id: `${'i'.repeat(20)}-1`, data: { type: 't'.repeat(30) } });
    expect(usedBytes() - before).toBeLessThan(100 * chunk.length * 1_000);
    expect(kept).toHaveLength(400);
  });
});
