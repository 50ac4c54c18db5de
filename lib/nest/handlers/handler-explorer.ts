import {
  Inject,
  Injectable,
  Logger,
  type BeforeApplicationShutdown,
  type OnModuleInit,
} from '@nestjs/common';
import { DiscoveryService, MetadataScanner } from '@nestjs/core';
import { InvalidHandlerError } from '../../errors/handler.errors.js';
import type { ConnectionBinding, PushBinding } from '../decorators/handler-metadata.js';
import { UnixSocketClientProxy } from '../unix-socket.client.js';
import { UnixSocketServer } from '../unix-socket.server.js';
import { ClientRegistry } from './client-registry.js';
import { decoratedMethods, type DecoratedMethod } from './decorated-method.js';
import { PushHandlerFactory } from './push-handler-factory.js';

/**
 * Finds the decorated methods of an app when it starts, and binds them before any client connects by itself.
 */
@Injectable()
export class HandlerExplorer implements OnModuleInit, BeforeApplicationShutdown {
  private readonly logger = new Logger('UnixSocketModule');
  private readonly servers = new Set<UnixSocketServer>();
  private readonly unbind: (() => void)[] = [];

  constructor(
    @Inject(DiscoveryService) private readonly discovery: DiscoveryService,
    @Inject(MetadataScanner) private readonly scanner: MetadataScanner,
    @Inject(ClientRegistry) private readonly clients: ClientRegistry,
    @Inject(PushHandlerFactory) private readonly handlers: PushHandlerFactory,
  ) {}

  /** The module is global, so this comes before the same hook of any other. @throws InvalidHandlerError */
  onModuleInit(): void {
    const wrappers = [...this.discovery.getProviders(), ...this.discovery.getControllers()];
    for (const { instance, token, isAlias } of wrappers) {
      if (instance instanceof UnixSocketServer) this.servers.add(instance);
      if (instance instanceof UnixSocketClientProxy && !isAlias) this.clients.addFound(token, instance);
    }
    for (const client of this.clients.all()) client.isExplored = true;
    for (const method of decoratedMethods(wrappers, this.scanner)) this.bind(method);
    this.clients.connectEager();
  }

  /** When the servers of the app stop as well. */
  beforeApplicationShutdown(): void {
    for (const unbind of this.unbind.splice(0)) unbind();
  }

  private bind(method: DecoratedMethod): void {
    const bound = new Set<string>();
    const known: object[] = [];
    for (const binding of method.bindings) {
      const target =
        binding.kind === 'push' ? this.clientOf(binding, method) : this.targetOf(binding, method);
      if (!known.includes(target)) known.push(target);
      const what = binding.kind === 'push' ? binding.pattern : binding.kind;
      const key = JSON.stringify([known.indexOf(target), binding.kind, what]);
      if (bound.has(key)) {
        throw new InvalidHandlerError(
          'DUPLICATE_HANDLER',
          method.label,
          `it is decorated twice for ${JSON.stringify(what)} of the same ${target instanceof UnixSocketServer ? 'server' : 'client'}.`,
        );
      }
      bound.add(key);
      if (binding.kind === 'push') this.bindPush(method, binding, target as UnixSocketClientProxy);
      else this.bindHook(method, binding, target);
    }
  }

  private bindPush(
    method: DecoratedMethod,
    { pattern, options }: PushBinding,
    client: UnixSocketClientProxy,
  ): void {
    const controller = new AbortController();
    const handler = this.handlers.create(method, client, controller.signal);
    const unsubscribe = client.onPush(pattern, handler, options, {
      onEnd: (error) => {
        controller.abort(error);
        if (error !== undefined) this.logger.error(`${method.label}: ${error.message}`);
      },
    });
    this.unbind.push(() => {
      unsubscribe();
      controller.abort();
    });
  }

  private bindHook(
    { wrapper, label, method, isSingleton }: DecoratedMethod,
    { kind }: ConnectionBinding,
    target: UnixSocketServer | UnixSocketClientProxy,
  ): void {
    if (!isSingleton) {
      throw new InvalidHandlerError(
        'HANDLER_NOT_SINGLETON',
        label,
        'a connection is no request, so its class must not be request-scoped or transient.',
      );
    }
    const instance = wrapper.instance as Record<string, (...args: unknown[]) => unknown>;
    const run = (...args: unknown[]): void => {
      // The executor turns a synchronous throw into a rejection too.
      new Promise((resolve) => resolve(instance[method]?.(...args))).catch((error: unknown) =>
        this.logger.error(error, `${label} failed`),
      );
    };
    if (target instanceof UnixSocketServer) {
      target.on(kind, run);
      // In a hybrid app the server may listen before the app is initialised.
      if (kind === 'connect') for (const connection of target.connections()) run(connection);
    } else {
      target.on(kind, (...args: unknown[]) => run(target, ...args));
      if (kind === 'connect' && target.isConnected()) run(target);
    }
  }

  private clientOf(
    { client }: { client?: PushBinding['client'] },
    { label }: DecoratedMethod,
  ): UnixSocketClientProxy {
    return this.clients.find(client, label);
  }

  private targetOf(
    binding: ConnectionBinding,
    method: DecoratedMethod,
  ): UnixSocketServer | UnixSocketClientProxy {
    if (binding.client !== undefined || (!binding.isServer && this.servers.size === 0))
      return this.clientOf(binding, method);
    const [server, another] = this.servers;
    if (server === undefined) {
      throw new InvalidHandlerError(
        'UNKNOWN_CLIENT',
        method.label,
        'this app provides no server. UnixSocketModule.forRoot() makes one.',
      );
    }
    if (another !== undefined || (!binding.isServer && this.clients.all().size > 0)) {
      throw new InvalidHandlerError(
        'AMBIGUOUS_CLIENT',
        method.label,
        'this app has several servers or clients. Say which is meant, with { server: true } or { client: … }.',
      );
    }
    return server;
  }
}
