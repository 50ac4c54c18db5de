import './nest-major.js';
import 'reflect-metadata';
import { setTimeout as delay } from 'node:timers/promises';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload, type MicroserviceOptions } from '@nestjs/microservices';
import { interval, finalize, type Observable } from 'rxjs';
import { Signal } from '../../../lib/nest/decorators/signal.decorator.js';
import { UnixSocketServer, type UnixSocketServerOptions } from '../../../lib/nest/unix-socket.server.js';
import { readOptions, report, takeOrders } from './commands.js';

/** A Nest microservice that ends itself in good order when it is told to by a signal. */
@Controller()
class Worker {
  @MessagePattern('work')
  async work(@Payload() { ms }: { ms: number }, @Signal() signal: AbortSignal): Promise<string> {
    report({ event: 'started' });
    signal.addEventListener('abort', () =>
      report({ event: 'stopped', code: (signal.reason as { code: string }).code }),
    );
    await delay(ms);
    return 'done';
  }

  @MessagePattern('ticks')
  ticks(): Observable<number> {
    return interval(5).pipe(finalize(() => report({ event: 'unsubscribed' })));
  }
}

@Module({ controllers: [Worker] })
class WorkerModule {}

export const commands = {
  async listen(): Promise<void> {
    const strategy = new UnixSocketServer(readOptions<UnixSocketServerOptions>());
    strategy.on('close', () => report({ event: 'close' }));
    const app = await NestFactory.createMicroservice<MicroserviceOptions>(WorkerModule, {
      strategy,
      logger: false,
    });
    app.enableShutdownHooks();
    await app.listen();
  },
};

takeOrders(commands);
