import { fileURLToPath } from 'node:url';

import { streams } from '../support/handlers.mjs';
import { ClientGrpcProxy, GrpcMethod, lastValueFrom, Subject, Transport } from '../support/nest.mjs';
import { controllerWith, forEach, startNestApp } from '../support/nest-peer.mjs';

export const title = 'Nest gRPC, Unix socket';
export const endpointKind = 'unix';
/** gRPC has no events, and connects with the first call. */
export const without = ['events', 'connections'];

const SERVICE = 'Bench';
/** gRPC messages have fields: values that are none are put into one. */
const FIELD_OF = { echoText: 'text', echoBytes: 'bytes', publish: 'count', items: 'count' };

const grpcOptions = ({ path }, { maxFrameBytes = -1 } = {}) => ({
  url: `unix:${path}`,
  package: 'bench',
  protoPath: fileURLToPath(new URL('./nest-grpc.proto', import.meta.url)),
  maxReceiveMessageLength: maxFrameBytes,
  maxSendMessageLength: maxFrameBytes,
});

export async function startServer(endpoint, options) {
  const pushes = new Subject();
  const controller = controllerWith(pushes, (_kind, name) => GrpcMethod(SERVICE, name), adapt);
  const transport = { transport: Transport.GRPC, options: grpcOptions(endpoint, options) };
  const app = await startNestApp(transport, controller);
  return { publish: (data) => pushes.next(data), close: () => app.close() };
}

function adapt(name, handle) {
  const field = FIELD_OF[name];
  if (field === undefined) return handle;
  if (name in streams) return (message) => handle(message[field]);
  return (message) => ({ [field]: handle(message[field]) });
}

export function createClient(endpoint, options) {
  const proxy = new ClientGrpcProxy(grpcOptions(endpoint, options));
  const service = proxy.getService(SERVICE);
  const wrap = (name, data) => (name in FIELD_OF ? { [FIELD_OF[name]]: data } : (data ?? {}));
  return {
    async request(name, data) {
      const answer = await lastValueFrom(service[name](wrap(name, data)));
      return name in FIELD_OF ? answer[FIELD_OF[name]] : answer;
    },
    stream: (name, data, onItem) => forEach(service[name](wrap(name, data)), onItem),
    onPush: (listener) => void service.pushes({}).subscribe(listener),
    close: () => proxy.close(),
  };
}
