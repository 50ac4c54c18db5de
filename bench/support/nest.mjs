import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

// From the folder above on purpose: one copy of Nest serves all contestants, and it is the one our package was built
// against, whatever this package's own node_modules may hold one day.
const require = createRequire(new URL('../../package.json', import.meta.url));

require('reflect-metadata');
const { Logger } = require('@nestjs/common');
export const { Module, Controller } = require('@nestjs/common');
export const { NestFactory } = require('@nestjs/core');
export const {
  ClientGrpcProxy,
  ClientTCP,
  EventPattern,
  GrpcMethod,
  MessagePattern,
  Payload,
  Transport,
} = require('@nestjs/microservices');
export const { from, lastValueFrom, Subject } = require('rxjs');
export const nestVersion = versionOf('@nestjs/microservices');
export const packageVersion = require('./package.json').version;

// Clients have no `logger: false` of their own; a report full of their lines is no report.
Logger.overrideLogger(false);

/** Our package as users get it: built. */
export function ourPackage() {
  try {
    return require('./dist/index.js');
  } catch (cause) {
    if (cause.code !== 'MODULE_NOT_FOUND') throw cause;
    throw new Error('dist/ is missing or incomplete: run `npm run build` in the folder above first', {
      cause,
    });
  }
}

/** Read beside the entry file: Nest 12 does not export its package.json. */
function versionOf(name) {
  return JSON.parse(readFileSync(join(dirname(require.resolve(name)), 'package.json'), 'utf8')).version;
}
