import { createServer, type AddressInfo } from 'node:net';
import type { INestMicroservice, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ClientTCP, Transport, type ClientProxy, type MicroserviceOptions } from '@nestjs/microservices';
import {
  RemoteError,
  UnixSocketClientProxy,
  UnixSocketServer,
  type UnixSocketClientOptions,
  type UnixSocketServerOptions,
} from 'nestjs-unix-socket';
import type { Observable } from 'rxjs';
import { tempSocketPath } from './temp-paths.js';

/** What a caller saw of one call, from its subscription to its end. */
export interface Observed {
  readonly values: unknown[];
  /** `{ error }` holds the payload, which is what Nest's TCP client errors with. */
  readonly end: 'complete' | { readonly error: unknown };
}

/** The part that every client of Nest has, whatever its transport. */
export type Client = Pick<ClientProxy, 'send' | 'emit'>;

/** A Nest microservice on one transport, and clients for it. */
export interface Service {
  readonly app: INestMicroservice;
  /** Another client, with further options. */
  client(options?: object): Client;
}

/** Starts `module` on one transport; `server` are further options, such as a serializer. */
export type Launch = (
  module: Type,
  setUp?: (app: INestMicroservice) => void,
  server?: object,
) => Promise<Service>;

interface Closable {
  close(): unknown;
}

const open: Closable[] = [];

/** Closes it with {@link closeAll}, the last one first. */
export function closeLater<T extends Closable>(closable: T): T {
  open.push(closable);
  return closable;
}

export async function closeAll(): Promise<void> {
  for (let next = open.pop(); next !== undefined; next = open.pop()) await next.close();
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export function newServer(options: UnixSocketServerOptions = { path: tempSocketPath() }): UnixSocketServer {
  return new UnixSocketServer(options);
}

/** Where a listening server of ours is reached, as options of a client. */
export function addressOf(server: UnixSocketServer): { path: string } | { host: string; port: number } {
  const { endpoint } = server;
  if ('path' in endpoint) return { path: endpoint.path };
  if ('port' in endpoint) return { host: endpoint.host, port: endpoint.port };
  throw new Error('A server under test listens on a path or a port');
}

/** A client that {@link closeAll} closes. */
export function newClient(options: UnixSocketClientOptions): UnixSocketClientProxy {
  return closeLater(new UnixSocketClientProxy({ drainTimeoutMs: 100, ...options }));
}

/** A microservice of `module` on one of our servers, listening. */
export async function serve(
  module: Type,
  strategy: UnixSocketServer = newServer(),
  setUp?: (app: INestMicroservice) => void,
): Promise<INestMicroservice> {
  return startMicroservice(module, { strategy }, setUp);
}

export const onNestTcp: Launch = async (module, setUp, server) => {
  const port = await freePort();
  const options = { host: '127.0.0.1', port };
  const app = await startMicroservice(
    module,
    { transport: Transport.TCP, options: { ...options, ...server } },
    setUp,
  );
  return { app, client: (more) => closeLater(new ClientTCP({ ...options, ...more })) };
};

export const onUnixSocket: Launch = (module, setUp, server) =>
  onOurs({ path: tempSocketPath(), ...server }, module, setUp);

export const onOurTcp: Launch = (module, setUp, server) => onOurs({ port: 0, ...server }, module, setUp);

/** Subscribes, and waits for the end. Values and payloads are the caller's own. */
export function observe(source: Observable<unknown>): Promise<Observed> {
  return new Promise((resolve) => {
    const values: unknown[] = [];
    source.subscribe({
      next: (value) => void values.push(value),
      error: (error: unknown) => resolve({ values, end: { error: payloadOf(error) } }),
      complete: () => resolve({ values, end: 'complete' }),
    });
  });
}

/** What handlers noted, in order, and a way to wait for it. */
export class Journal {
  readonly entries: unknown[] = [];
  private onEntry: () => void = () => undefined;

  add(entry: unknown): void {
    this.entries.push(entry);
    this.onEntry();
  }

  clear(): void {
    this.entries.length = 0;
  }

  /** The entries, once there are `count`. The test's own timeout ends a wait that never does. */
  async have(count: number): Promise<unknown[]> {
    while (this.entries.length < count) await new Promise<void>((resolve) => (this.onEntry = resolve));
    return this.entries;
  }
}

async function onOurs(
  options: UnixSocketServerOptions,
  module: Type,
  setUp: ((app: INestMicroservice) => void) | undefined,
): Promise<Service> {
  const server = newServer(options);
  const app = await serve(module, server, setUp);
  return { app, client: (more) => newClient({ ...addressOf(server), ...more }) };
}

async function startMicroservice(
  module: Type,
  options: MicroserviceOptions,
  setUp: ((app: INestMicroservice) => void) | undefined,
): Promise<INestMicroservice> {
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(module, {
    ...options,
    logger: false,
    abortOnError: false,
  });
  setUp?.(app);
  await app.listen();
  return closeLater(app);
}

function payloadOf(error: unknown): unknown {
  return error instanceof RemoteError ? error.payload : error;
}
