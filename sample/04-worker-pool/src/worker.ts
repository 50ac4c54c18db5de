import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { MicroserviceOptions } from '@nestjs/microservices';
import { UnixSocketClientProxy } from 'nestjs-unix-socket';
import { PrimesController, WORKER_NAME } from './primes.controller.js';

const [path, name] = process.argv.slice(2) as [string, string];

@Module({ controllers: [PrimesController], providers: [{ provide: WORKER_NAME, useValue: name }] })
class WorkerModule {}

async function main(): Promise<void> {
  // The supervisor knows its workers by their accounts.
  const client = new UnixSocketClientProxy({ path, accountId: name, maxConcurrentPerConnection: 1 });
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(WorkerModule, {
    strategy: client.handlers,
    logger: ['error', 'fatal'],
  });
  app.enableShutdownHooks();
  await app.listen();
}

// The parent may be killed; this process then has nobody to work for.
process.on('disconnect', () => process.exit());
void main();
