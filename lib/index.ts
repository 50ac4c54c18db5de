export type { CallObserver, CallOptions } from './calls/pending-call.js';
export { stream, type ClientStreamOptions, type StreamOptions } from './calls/answer-iterator.js';
export { request, type ClientRequestOptions, type RequestOptions } from './calls/request.js';
export {
  RequestHandler,
  RequestHandlerRegistry,
  type RequestHandlerFunction,
  type RequestInfo,
} from './calls/request-handler-registry.js';
export { BackoffStrategy, type BackoffOptions } from './client/backoff.js';
export { HealthChecker, type HealthCheckerOptions } from './client/health-checker.js';
export { Link } from './client/link.js';
export type { LinkCloseReport, LinkEvents, LinkStats } from './client/link-reports.js';
export type { LinkState } from './client/link-state.js';
export type { PushHandling } from './client/push-handling.js';
export type { PushFilter } from './client/push-stream.js';
export type { PushHandler, PushSubscriptionEvents, ReceivedPush } from './client/push-subscription.js';
export type { PushGap } from './client/push-positions.js';
export type { LatencySummary, MessageCounts } from './connection/stats.js';
export { AddressInUseError, ListenError } from './errors/address.errors.js';
export {
  CallCancelledError,
  ClientClosedError,
  DeadlineExceededError,
  NotCallableError,
  NotConnectedError,
  OfflineQueueFullError,
  PendingCallsFullError,
  RefusedError,
  RemoteError,
  RequestAbortedError,
  RequestTimeoutError,
  StreamOverflowError,
  type RefusalCode,
} from './errors/call.errors.js';
export {
  AccountMismatchError,
  ConnectError,
  ConnectionClosedError,
  ConnectionLostError,
  ConnectionRefusedByServerError,
  ConnectTimeoutError,
  PeerSilentError,
  SendQueueFullError,
  ServerClosedError,
  ServerGoingAwayError,
  type ConnectErrorCode,
} from './errors/connection.errors.js';
export {
  DuplicateClientError,
  InvalidHandlerError,
  type InvalidHandlerCode,
} from './errors/handler.errors.js';
export { InvalidOptionError, PathTooLongError } from './errors/option.errors.js';
export {
  EncodeError,
  FrameTimeoutError,
  FrameTooLargeError,
  MalformedFrameError,
} from './errors/protocol.errors.js';
export { PushOverflowError } from './errors/push.errors.js';
export { UnixSocketError, type Delivery } from './errors/unix-socket.error.js';
export type { ClientName } from './nest/decorators/handler-metadata.js';
export {
  getUnixSocketClientToken,
  InjectUnixSocketClient,
} from './nest/decorators/inject-client.decorator.js';
export { OnConnect, OnDisconnect, type OnConnectOptions } from './nest/decorators/on-connect.decorator.js';
export { OnPush, type OnPushOptions } from './nest/decorators/on-push.decorator.js';
export { Signal } from './nest/decorators/signal.decorator.js';
export { PushObservable } from './nest/push-observable.js';
export { OnRequest, type OnRequestOptions } from './nest/decorators/on-request.decorator.js';
export { getUnixSocketClientTransport, UNIX_SOCKET_TRANSPORT } from './nest/unix-socket.constants.js';
export { UnixSocketClientProxy, type UnixSocketClientOptions } from './nest/unix-socket.client.js';
export { UnixSocketClientContext } from './nest/unix-socket.client-context.js';
export { UnixSocketClientHandlers } from './nest/unix-socket.client-handlers.js';
export { UnixSocketContext } from './nest/unix-socket.context.js';
export {
  UnixSocketClientStatus,
  UnixSocketServerStatus,
  type UnixSocketClientEvents,
  type UnixSocketServerEvents,
} from './nest/unix-socket.events.js';
export {
  UnixSocketModule,
  type UnixSocketClientAsyncOptions,
  type UnixSocketNamedClientOptions,
} from './nest/unix-socket.module.js';
export { UnixSocketPushContext } from './nest/unix-socket.push-context.js';
export { UnixSocketRecord, UnixSocketRecordBuilder } from './nest/unix-socket.record-builder.js';
export { UnixSocketServer, type UnixSocketServerOptions } from './nest/unix-socket.server.js';
export type {
  ClientHeartbeat,
  ClientSettings,
  EventsAs,
  LinkOptions,
  OfflinePolicy,
  ReconnectSettings,
} from './options/client-options.js';
export type { Endpoint, EndpointOptions } from './options/endpoint.js';
export type { PushOverflow, PushSubscriptionOptions } from './options/push-options.js';
export type {
  Handling,
  ServerHeartbeat,
  ServerResume,
  ServerSettings,
  SocketServerOptions,
} from './options/server-options.js';
export type { Codec } from './protocol/codec.js';
export type { ProtocolVersion } from './protocol/dialect.js';
export {
  createError,
  createHeartbeat,
  createPush,
  createRequest,
  createResponse,
  generateRequestId,
  MessageType,
  type MessageBody,
} from './protocol/message-body.js';
export type { RoomPosition } from './protocol/room-positions.js';
export { MessageProtocol } from './protocol/message-protocol.js';
export type { CodecChoice, Payload } from './protocol/payload.js';
export type { ClientConnection, PushOptions, PushOutcome } from './server/client-connection.js';
export type { ResumeAuthorizer } from './server/kept-rooms.js';
export { PushOperator, type PushTarget } from './server/push.js';
export type { SlowConsumerPolicy } from './server/push-queue.js';
export { SocketServer } from './server/socket-server.js';
export type {
  ConnectionStats,
  ServerCloseReport,
  ServerStats,
  SocketServerEvents,
} from './server/server-reports.js';
