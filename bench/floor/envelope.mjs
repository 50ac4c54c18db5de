// What two ends of ours say to each other when there is nothing beside the payload: a compact frame (docs/wire.md).

export const REQUEST = 0x02;
export const PUSH = 0x03;
export const RESPONSE = 0x04;
export const MORE = 0x05;
export const END = 0x06;
/** Added where the payload is bytes. */
export const BINARY = 0x10;

const textOf = String.fromCharCode;

/** @param {string} id ASCII and short, as the type is */
export function callHead(kind, id, type) {
  return `${textOf(kind, id.length)}${id}${textOf(type.length)}${type}`;
}

export function answerHead(kind, id) {
  return `${textOf(kind, id.length)}${id}`;
}
