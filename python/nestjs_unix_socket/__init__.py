"""Client and server of the MessageBody protocol over Unix sockets and TCP, for asyncio."""

from .backoff import BackoffStrategy
from .client import SocketClient
from .context import ClientConnection, PushOutcome, RequestContext
from .errors import (
    AddressInUseError,
    ClientClosedError,
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    Delivery,
    EncodeError,
    FrameTimeoutError,
    FrameTooLargeError,
    MalformedFrameError,
    NotConnectedError,
    OfflineQueueFullError,
    PathTooLongError,
    PeerSilentError,
    RefusedByServerError,
    RefusedError,
    RemoteError,
    RequestTimeoutError,
    SendQueueFullError,
    StreamOverflowError,
    UnixSocketError,
)
from .health import HealthChecker
from .messages import (
    MessageBody,
    MessageProtocol,
    MessageType,
    create_error,
    create_heartbeat,
    create_push,
    create_request,
    create_response,
    generate_request_id,
)
from .peer_options import SlowConsumerPolicy
from .pushes import PushSubscription
from .registry import RequestHandlerRegistry, request
from .server import SocketServer
from .stream import ResponseStream

__version__ = "0.1.0"

__all__ = [
    "AddressInUseError", "BackoffStrategy", "ClientClosedError", "ClientConnection", "ConnectError",
    "ConnectTimeoutError", "ConnectionLostError", "Delivery", "EncodeError", "FrameTimeoutError",
    "FrameTooLargeError", "HealthChecker", "MalformedFrameError", "MessageBody", "MessageProtocol", "MessageType",
    "NotConnectedError", "OfflineQueueFullError", "PathTooLongError", "PeerSilentError", "PushOutcome",
    "PushSubscription", "RefusedByServerError", "RefusedError", "RemoteError", "RequestContext",
    "RequestHandlerRegistry", "RequestTimeoutError", "ResponseStream", "SendQueueFullError", "SlowConsumerPolicy",
    "SocketClient", "SocketServer", "StreamOverflowError", "UnixSocketError", "create_error", "create_heartbeat",
    "create_push", "create_request", "create_response", "generate_request_id", "request",
]  # fmt: skip
