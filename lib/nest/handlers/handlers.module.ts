import { Global, Module } from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { ClientRegistry } from './client-registry.js';
import { HandlerExplorer } from './handler-explorer.js';
import { PushHandlerFactory } from './push-handler-factory.js';

/** Once in each app, however often `UnixSocketModule` is imported. */
@Global()
@Module({
  imports: [DiscoveryModule],
  providers: [ClientRegistry, PushHandlerFactory, HandlerExplorer],
  exports: [ClientRegistry],
})
export class UnixSocketHandlersModule {}
