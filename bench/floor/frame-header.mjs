// A frame: 4 bytes body length (unsigned, big-endian, not counting itself), then the body. Bytes are set one by one:
// the Buffer methods check their arguments, which shows at half a million frames a second.

export const HEADER_BYTES = 4;

export function readLength(buffer, at) {
  return ((buffer[at] << 24) | (buffer[at + 1] << 16) | (buffer[at + 2] << 8) | buffer[at + 3]) >>> 0;
}

export function writeLength(buffer, at, length) {
  buffer[at] = length >>> 24;
  buffer[at + 1] = length >>> 16;
  buffer[at + 2] = length >>> 8;
  buffer[at + 3] = length;
}

/** The header as a string of one byte per character. */
export function headerText(length) {
  return String.fromCharCode(length >>> 24, (length >>> 16) & 0xff, (length >>> 8) & 0xff, length & 0xff);
}
