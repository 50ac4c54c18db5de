import { events, requests, streams } from './handlers.mjs';
import {
  Controller,
  EventPattern,
  from,
  lastValueFrom,
  MessagePattern,
  Module,
  NestFactory,
  Payload,
  Subject,
} from './nest.mjs';

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
  // Nest's own transports have no push: each client holds one endless stream instead.
  const pushes = new Subject();
  const app = await startNestApp(microserviceOptions, controllerFor(patternOf, pushes));
  return { publish: (data) => pushes.next(data), close: () => app.close() };
}

export async function startNestApp(microserviceOptions, controller) {
  class BenchModule {}
  Module({ controllers: [controller] })(BenchModule);
  const app = await NestFactory.createMicroservice(BenchModule, { ...microserviceOptions, logger: false });
  await app.listen();
  return app;
}

/**
 * @param {import('@nestjs/microservices').ClientProxy} proxy
 * @param {(name: string) => unknown} patternOf
 */
export async function connectNestClient(proxy, patternOf) {
  await proxy.connect();
  const patterns = new Map(
    [...names(requests), ...names(events), ...names(streams), 'pushes'].map((name) => [
      name,
      patternOf(name),
    ]),
  );
  return {
    request: (name, data) => lastValueFrom(proxy.send(patterns.get(name), data)),
    emit: (name, data) => void proxy.emit(patterns.get(name), data),
    stream: (name, data, onItem) => forEach(proxy.send(patterns.get(name), data), onItem),
    onPush: (listener) => void proxy.send(patterns.get('pushes'), 0).subscribe(listener),
    close: () => proxy.close(),
  };
}

/** Resolves when the Observable completes. */
export function forEach(observable, onItem) {
  return new Promise((complete, error) => {
    observable.subscribe({ next: onItem, error, complete });
  });
}

/**
 * A controller with every handler, each decorated by `decorate(kind, name)`.
 * @param {(name: string, handle: Function) => Function} [adapt]
 */
export function controllerWith(pushes, decorate, adapt = (_name, handle) => handle) {
  class BenchController {}
  const add = (kind, name, plainHandle) => {
    const handle = adapt(name, plainHandle);
    BenchController.prototype[name] = function handler(data) {
      return handle(data);
    };
    // Decorators by hand: these files run as they are, without a compiler.
    const descriptor = Object.getOwnPropertyDescriptor(BenchController.prototype, name);
    decorate(kind, name)(BenchController.prototype, name, descriptor);
    Payload()(BenchController.prototype, name, 0);
  };
  for (const [name, handle] of Object.entries(requests)) add('request', name, handle);
  for (const [name, handle] of Object.entries(events)) add('event', name, handle);
  for (const [name, items] of Object.entries(streams)) add('stream', name, (data) => from(items(data)));
  add('stream', 'pushes', () => pushes);
  Controller()(BenchController);
  return BenchController;
}

function controllerFor(patternOf, pushes) {
  return controllerWith(pushes, (kind, name) =>
    kind === 'event' ? EventPattern(patternOf(name)) : MessagePattern(patternOf(name)),
  );
}

function names(handlers) {
  return Object.keys(handlers);
}
