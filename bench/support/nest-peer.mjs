import { handlers } from './handlers.mjs';
import { Controller, lastValueFrom, MessagePattern, Module, NestFactory, Payload } from './nest.mjs';

/** Patterns as most apps write them. */
export const stringPattern = (name) => name;

/** Patterns as Nest's own documentation writes them. */
export const objectPattern = (name) => ({ cmd: name });

/**
 * Starts a Nest microservice with one controller that has all handlers.
 * @param {object} microserviceOptions as for `NestFactory.createMicroservice`, without `logger`
 * @param {(name: string) => unknown} patternOf
 */
export async function startNestServer(microserviceOptions, patternOf) {
  const app = await NestFactory.createMicroservice(moduleWith(controllerFor(patternOf)), {
    ...microserviceOptions,
    logger: false,
  });
  await app.listen();
  return { close: () => app.close() };
}

/**
 * @param {import('@nestjs/microservices').ClientProxy} proxy
 * @param {(name: string) => unknown} patternOf
 */
export async function connectNestClient(proxy, patternOf) {
  await proxy.connect();
  return {
    request: (type, data) => lastValueFrom(proxy.send(patternOf(type), data)),
    close: () => proxy.close(),
  };
}

function controllerFor(patternOf) {
  class BenchController {}
  for (const [name, handle] of Object.entries(handlers)) {
    BenchController.prototype[name] = function handler(data) {
      return handle(data);
    };
    // Decorators by hand: these files run as they are, without a compiler.
    const descriptor = Object.getOwnPropertyDescriptor(BenchController.prototype, name);
    MessagePattern(patternOf(name))(BenchController.prototype, name, descriptor);
    Payload()(BenchController.prototype, name, 0);
  }
  Controller()(BenchController);
  return BenchController;
}

function moduleWith(controller) {
  class BenchModule {}
  Module({ controllers: [controller] })(BenchModule);
  return BenchModule;
}
