import { createRequire } from 'node:module';

// What the library does to be fast and is no part of a transport, so that the floor does it too and stays one.
const require = createRequire(import.meta.url);

export const { encodeLargeText, LARGE_STRING_LENGTH } = require('../../dist/protocol/large-text.js');
export const { decodeValue } = require('../../dist/protocol/message-protocol.js');
