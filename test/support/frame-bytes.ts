import { SplitFrame, type Frame } from '../../lib/protocol/frame-writer.js';

/** What of a frame goes to the kernel. */
export function frameBytes(frame: Frame): Buffer {
  if (frame instanceof SplitFrame)
    return Buffer.concat([frameBytes(frame.head), frame.body, frameBytes(frame.tail)]);
  return typeof frame === 'string' ? Buffer.from(frame, 'latin1') : frame;
}
