const assert = require('node:assert/strict');
const { existsSync } = require('node:fs');
const { firstValueFrom, from, lastValueFrom, toArray } = require('rxjs');

/** A Nest microservice and a client of it in one process: request, stream, event, error, and a close that lets go. */
exports.exchange = async (api) => {
  const path = `${__dirname}/${process.pid}.sock`;
  const events = Promise.withResolvers?.() ?? withResolvers();
  const logger = ['warn', 'error'];
  const strategy = new api.UnixSocketServer({ path });
  const app = await api.NestFactory.createMicroservice(appModule(api, events.resolve), { strategy, logger });
  await app.listen();

  const client = new api.UnixSocketClientProxy({ path });
  const greeting = { text: 'héllo, 世界 👋', list: [1, null, false] };
  assert.deepEqual(await firstValueFrom(client.send('echo', greeting)), greeting);
  assert.deepEqual(await lastValueFrom(client.send({ cmd: 'count' }, 3).pipe(toArray())), [1, 2, 3]);
  await assert.rejects(lastValueFrom(client.send('nobody', null)), /Unknown request type/);
  await lastValueFrom(client.emit('seen', greeting), { defaultValue: undefined });
  assert.deepEqual(await events.promise, greeting);
  assert.equal(typeof api.testing.FaultProxy, 'function');

  await client.close();
  await app.close();
  assert.equal(existsSync(path), false, 'the socket file is left behind');
};

// Decorators by hand, as the apps run uncompiled.
function appModule({ Controller, EventPattern, MessagePattern, Module }, onSeen) {
  class EchoController {
    echo(data) {
      return data;
    }
    count(upTo) {
      return from(Array.from({ length: upTo }, (_, index) => index + 1));
    }
    seen(data) {
      onSeen(data);
    }
  }
  const decorate = (decorator, method) =>
    decorator(
      EchoController.prototype,
      method,
      Object.getOwnPropertyDescriptor(EchoController.prototype, method),
    );
  decorate(MessagePattern('echo'), 'echo');
  decorate(MessagePattern({ cmd: 'count' }), 'count');
  decorate(EventPattern('seen'), 'seen');
  Controller()(EchoController);

  class AppModule {}
  Module({ controllers: [EchoController] })(AppModule);
  return AppModule;
}

// Node 20 has no Promise.withResolvers.
function withResolvers() {
  let resolve;
  const promise = new Promise((done) => (resolve = done));
  return { promise, resolve };
}
