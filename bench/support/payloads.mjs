const WORDS = 'The quick brown fox jumps over the lazy dog, 42 times. ';

/** ASCII that JSON need not escape. */
export function textOf(bytes) {
  return WORDS.repeat(Math.ceil(bytes / WORDS.length)).slice(0, bytes);
}

export function bytesOf(bytes) {
  return Buffer.alloc(
    bytes,
    Uint8Array.from({ length: 256 }, (_, i) => i),
  );
}
