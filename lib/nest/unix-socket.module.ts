import {
  Module,
  type DynamicModule,
  type FactoryProvider,
  type ModuleMetadata,
  type Provider,
} from '@nestjs/common';
import { DuplicateClientError } from '../errors/handler.errors.js';
import { getUnixSocketClientToken } from './decorators/inject-client.decorator.js';
import { ClientRegistry } from './handlers/client-registry.js';
import { UnixSocketHandlersModule } from './handlers/handlers.module.js';
import { UnixSocketClientProxy, type UnixSocketClientOptions } from './unix-socket.client.js';
import { ConfigurableUnixSocketModule, UNIX_SOCKET_OPTIONS } from './unix-socket.module-definition.js';
import { UnixSocketServer, type UnixSocketServerOptions } from './unix-socket.server.js';

/** A client by name: what {@link InjectUnixSocketClient} asks for, and its options. */
export interface UnixSocketNamedClientOptions extends UnixSocketClientOptions {
  readonly name: string;
}

/** A client whose options come from a factory. */
export interface UnixSocketClientAsyncOptions
  extends
    Pick<ModuleMetadata, 'imports'>,
    Pick<FactoryProvider<UnixSocketClientOptions>, 'inject' | 'useFactory'> {
  readonly name: string;
}

/**
 * The server, and clients by name, as providers.
 *
 * `forRoot` gives {@link UnixSocketServer}, so that any service can push. It still has to be connected:
 * `app.connectMicroservice({ strategy: app.get(UnixSocketServer) })`.
 */
@Module({
  imports: [UnixSocketHandlersModule],
  providers: [
    {
      provide: UnixSocketServer,
      useFactory: (options: UnixSocketServerOptions) => new UnixSocketServer(options),
      inject: [UNIX_SOCKET_OPTIONS],
    },
  ],
  exports: [UnixSocketServer],
})
export class UnixSocketModule extends ConfigurableUnixSocketModule {
  /**
   * Clients for `@InjectUnixSocketClient(name)`; closed with the app. Those with `eager` connect when the app is
   * initialised and its handlers are bound, the others with their first call or `connect()`. Without any, it only
   * looks for handlers of clients made elsewhere.
   * @throws DuplicateClientError
   */
  static forClient(...clients: UnixSocketNamedClientOptions[]): DynamicModule {
    return UnixSocketModule.clients(
      clients.map((options) => ({ name: options.name, useFactory: () => options })),
    );
  }

  static forClientAsync(...clients: UnixSocketClientAsyncOptions[]): DynamicModule {
    return UnixSocketModule.clients(clients);
  }

  private static clients(clients: readonly UnixSocketClientAsyncOptions[]): DynamicModule {
    const names = clients.map(({ name }) => name);
    const duplicate = names.find((name, index) => names.indexOf(name) !== index);
    if (duplicate !== undefined) throw new DuplicateClientError(duplicate);
    const providers = clients.map(clientProvider);
    return {
      module: UnixSocketClientsModule,
      imports: [UnixSocketHandlersModule, ...clients.flatMap(({ imports }) => imports ?? [])],
      providers,
      exports: providers,
    };
  }
}

/** Holds the clients of one `forClient`; the server's module has nothing to do with them. */
@Module({})
export class UnixSocketClientsModule {}

function clientProvider({ name, useFactory, inject }: UnixSocketClientAsyncOptions): Provider {
  return {
    provide: getUnixSocketClientToken(name),
    useFactory: async (registry: ClientRegistry, ...dependencies: unknown[]) => {
      const { eager = false, ...options } = await useFactory(...dependencies);
      const client = new UnixSocketClientProxy({ ...options, name });
      registry.add(name, client, eager);
      // Nest calls hooks on whatever instance has them.
      return Object.assign(client, { onApplicationShutdown: () => client.close() });
    },
    inject: [ClientRegistry, ...(inject ?? [])],
  };
}
