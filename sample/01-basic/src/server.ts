import 'reflect-metadata';
import { Inject, Module, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { AsyncMicroserviceOptions } from '@nestjs/microservices';
import { UnixSocketServer } from 'nestjs-unix-socket';
import { DeskController } from './desk.controller.js';
import { Market } from './market.js';
import { say } from './narrator.js';

const path = process.argv[2] as string;

@Module({
  controllers: [DeskController],
  // The strategy is a provider, so whoever wants to push can inject it.
  providers: [
    Market,
    { provide: UnixSocketServer, useFactory: () => new UnixSocketServer({ path, accountId: 'desk' }) },
  ],
})
class DeskModule implements OnApplicationBootstrap, OnApplicationShutdown {
  private timer: NodeJS.Timeout | undefined;

  constructor(
    @Inject(Market) private readonly market: Market,
    @Inject(UnixSocketServer) private readonly server: UnixSocketServer,
  ) {}

  onApplicationBootstrap(): void {
    this.timer = setInterval(() => this.server.push('tick', this.market.quote('GLOBEX')), 700);
    // Functions beside the controllers, added at run time; the Python program asks for these two.
    this.server.handle('echo', (data: unknown) => data);
    this.server.handle('sum', (numbers: number[]) => numbers.reduce((sum, number) => sum + number, 0));
  }

  onApplicationShutdown(): void {
    clearInterval(this.timer);
  }
}

async function main(): Promise<void> {
  const app = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(DeskModule, {
    logger: ['warn', 'error', 'fatal'],
    inject: [UnixSocketServer],
    useFactory: (strategy: UnixSocketServer) => ({ strategy }),
  });
  app.enableShutdownHooks();
  const server = app.get(UnixSocketServer);
  server.on('connect', ({ id }) => say('server', 'connect', `hello, ${id}`));
  server.on('disconnect', ({ id }) => say('server', 'disconnect', `goodbye, ${id}`));
  await app.listen();
  say('server', 'listening', `process ${process.pid} on ${path}`);
}

// The parent may be killed; this process then has nobody to serve.
process.on('disconnect', () => process.exit());
void main();
