import { Logger, type INestMicroservice, type Provider, type Type } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import {
  UnixSocketClientProxy,
  UnixSocketServer,
  type UnixSocketClientOptions,
  type UnixSocketServerOptions,
} from 'nestjs-unix-socket';
import { atEnd } from './at-end.js';
import type { Address } from './frames.js';
import { tempSocketPath } from './temp-paths.js';

export type Transport = 'unix' | 'tcp';
export const TRANSPORTS: readonly Transport[] = ['unix', 'tcp'];

export interface NestServer {
  readonly app: INestMicroservice;
  readonly server: UnixSocketServer;
  /** Where clients find it. */
  readonly address: Address;
}

// Clients of a server that goes and comes have much to say.
Logger.overrideLogger(false);

/** A free address of this kind. */
export function freeAddress(transport: Transport): Address {
  return transport === 'unix' ? { path: tempSocketPath() } : { port: 0 };
}

/** A listening Nest microservice; closed after the test. */
export async function startNestServer(
  { controllers = [], providers = [] }: { controllers?: Type[]; providers?: Provider[] },
  options: UnixSocketServerOptions,
): Promise<NestServer> {
  const server = new UnixSocketServer(options);
  const module = await Test.createTestingModule({ controllers, providers }).compile();
  module.useLogger(false);
  const app = module.createNestMicroservice({ strategy: server });
  atEnd(() => app.close());
  await app.listen();
  return { app, server, address: server.endpoint as Address };
}

/** A client; closed after the test, without waiting for answers. */
export function makeClient(options: UnixSocketClientOptions): UnixSocketClientProxy {
  const client = new UnixSocketClientProxy({ drainTimeoutMs: 0, ...options });
  atEnd(() => client.close());
  return client;
}
