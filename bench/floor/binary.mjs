// The one binary message there is: bytes to be sent back. Its head is a byte that JSON cannot begin with and the slot
// of the call; the bytes follow as they are.

const MARK = 0x00;
export const HEAD_BYTES = 5;

export function binaryHead(slot) {
  const head = Buffer.allocUnsafe(HEAD_BYTES);
  head[0] = MARK;
  head.writeUInt32BE(slot, 1);
  return head;
}

export function readSlot(body) {
  return body.readUInt32BE(1);
}
