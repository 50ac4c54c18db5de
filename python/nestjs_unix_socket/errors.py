"""Every error this package raises. `code` is stable, the text is for people."""

from __future__ import annotations

import errno
from typing import Any, Literal

Delivery = Literal["notSent", "sentNoReply", "replied"]
"""What is known of a failed call. `notSent`: not started, so repeating is safe. `sentNoReply`: it may have run.
`replied`: the handler itself answered with an error."""


class UnixSocketError(Exception):
    """Root of all errors here."""

    code: str = "UNIX_SOCKET_ERROR"

    def __init__(self, message: str, *, delivery: Delivery | None = None, cause: BaseException | None = None) -> None:
        super().__init__(message)
        self.delivery = delivery
        if cause is not None:
            self.__cause__ = cause

    @property
    def message(self) -> str:
        return str(self)


# --- a call failed


class RemoteError(UnixSocketError):
    """The handler answered with an error. `code` is its own, `REMOTE_ERROR` or `UNKNOWN_PATTERN`."""

    def __init__(self, message: str, code: str | None = None, details: Any = None, payload: Any = None) -> None:
        super().__init__(message, delivery="replied")
        self.code = code or "REMOTE_ERROR"
        self.details = details
        self.payload = payload


class RefusedError(UnixSocketError):
    """The server did not start the call: `OVERLOADED`, `DRAINING` or `DEADLINE_EXCEEDED`. Repeating is safe."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, delivery="notSent")
        self.code = code


class RequestTimeoutError(UnixSocketError, TimeoutError):
    """No answer, or no next value, within the time given. The server has been told to stop."""

    code = "REQUEST_TIMEOUT"

    def __init__(
        self, request_type: str, timeout: float, delivery: Delivery, cause: BaseException | None = None
    ) -> None:
        what = "was not sent: no connection" if delivery == "notSent" else "was sent and may have run: no answer"
        super().__init__(f'"{request_type}" {what} within {timeout:g} s.', delivery=delivery, cause=cause)
        self.timeout = timeout


class NotConnectedError(UnixSocketError, ConnectionError):
    """There is no connection and none is being made."""

    code = "NOT_CONNECTED"

    def __init__(self, endpoint: str, cause: BaseException | None = None) -> None:
        super().__init__(f"There is no connection to {endpoint}; call connect().", delivery="notSent", cause=cause)


class ClientClosedError(UnixSocketError):
    """`disconnect()` was called before the answer came."""

    code = "CLIENT_CLOSED"

    def __init__(self, delivery: Delivery) -> None:
        super().__init__("The client was disconnected before the answer came.", delivery=delivery)


class StreamOverflowError(UnixSocketError):
    """Values came faster than they were taken, and more wait than may. The stream was cancelled."""

    code = "STREAM_OVERFLOW"

    def __init__(self, limit: str) -> None:
        super().__init__(
            f"More than {limit} of the stream wait to be taken; take them faster or raise the limit.",
            delivery="sentNoReply",
        )


class OfflineQueueFullError(UnixSocketError):
    """As many calls wait for a connection as may."""

    code = "OFFLINE_QUEUE_FULL"

    def __init__(self, endpoint: str, limit: int) -> None:
        super().__init__(f"{limit} calls wait for a connection to {endpoint} already.", delivery="notSent")


# --- values and frames


class EncodeError(UnixSocketError):
    """A value has no JSON form: circular, too deep, of an unknown type, or using the reserved key `__bytes__`."""

    code = "UNENCODABLE_VALUE"

    def __init__(self, reason: str, cause: BaseException | None = None) -> None:
        super().__init__(f"The value cannot be sent: {reason}.", delivery="notSent", cause=cause)


class FrameTooLargeError(UnixSocketError):
    """A frame is larger than one of the two ends takes."""

    code = "FRAME_TOO_LARGE"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"A frame of {size} bytes exceeds the limit of {limit}. Raise max_frame_bytes on both ends or send less.",
            delivery="notSent",
        )
        self.size = size
        self.limit = limit


class MalformedFrameError(UnixSocketError):
    """The peer sent what is no message. Its connection is ended, no other is touched."""

    code = "MALFORMED_FRAME"

    def __init__(self, reason: str, cause: BaseException | None = None) -> None:
        super().__init__(f"Malformed frame: {reason}. Check that the peer speaks this protocol.", cause=cause)


class FrameTimeoutError(UnixSocketError):
    """The peer began a frame and stopped."""

    code = "FRAME_TIMEOUT"

    def __init__(self, timeout: float) -> None:
        super().__init__(f"The peer sent part of a frame and then nothing for {timeout:g} s.")


# --- a connection could not be made, or ended

_CONNECT_FAILURES = {
    errno.ENOENT: ("SOCKET_NOT_FOUND", "nothing is there yet: start the server, or check the path"),
    errno.ECONNREFUSED: ("CONNECTION_REFUSED", "nobody listens there: start the server"),
    errno.EACCES: ("PERMISSION_DENIED", "this user may not connect: check mode and owner of the socket"),
    errno.EPERM: ("PERMISSION_DENIED", "this user may not connect: check mode and owner of the socket"),
    errno.EAGAIN: ("SERVER_BUSY", "its backlog is full: it is tried again"),
    errno.ENOTSOCK: ("NOT_A_SOCKET", "there is a file that is no socket: check the path"),
}


class ConnectError(UnixSocketError, ConnectionError):
    """One attempt to connect failed. Nothing was sent."""

    def __init__(self, endpoint: str, cause: OSError) -> None:
        code, advice = _CONNECT_FAILURES.get(cause.errno or 0, ("CONNECT_FAILED", str(cause)))
        super().__init__(f"Cannot connect to {endpoint}: {advice}.", delivery="notSent", cause=cause)
        self.code = code


class ConnectTimeoutError(UnixSocketError, TimeoutError):
    """The server did not greet within the time given."""

    code = "CONNECT_TIMEOUT"

    def __init__(self, endpoint: str, timeout: float) -> None:
        super().__init__(
            f"No greeting from {endpoint} within {timeout:g} s: it is stuck or speaks another protocol.",
            delivery="notSent",
        )


class RefusedByServerError(UnixSocketError, ConnectionError):
    """The server turned the connection away, or serves another account."""

    code = "REFUSED_BY_SERVER"

    def __init__(self, endpoint: str, reason: str) -> None:
        super().__init__(f"{endpoint} refused the connection: {reason}.", delivery="notSent")


class ConnectionLostError(UnixSocketError, ConnectionError):
    """The connection ended, for a call before its answer."""

    code = "CONNECTION_LOST"

    def __init__(self, peer: str, delivery: Delivery | None = None, cause: BaseException | None = None) -> None:
        tail = " before the answer came: the work may have been done." if delivery == "sentNoReply" else "."
        super().__init__(f"The connection to {peer} was lost{tail}", delivery=delivery, cause=cause)


class PeerSilentError(UnixSocketError, ConnectionError):
    """Nothing was received for longer than the heartbeat timeout."""

    code = "PEER_SILENT"

    def __init__(self, peer: str, timeout: float) -> None:
        super().__init__(f"Nothing was received from {peer} for {timeout:g} s: stopped, stuck or gone.")


class SendQueueFullError(UnixSocketError):
    """The peer does not read, and more waits for it than may."""

    code = "SEND_QUEUE_FULL"

    def __init__(self, queued: int, limit: int) -> None:
        super().__init__(
            f"{queued} bytes wait for a peer that does not read; the limit is {limit}.", delivery="notSent"
        )


# --- a server cannot listen


class AddressInUseError(UnixSocketError, OSError):
    """A live server holds the address, or the file there is no socket. Nothing was touched."""

    code = "ADDRESS_IN_USE"

    def __init__(self, endpoint: str, holder: str) -> None:
        super().__init__(f"Cannot listen on {endpoint}: {holder}. Stop it or choose another address.")


class PathTooLongError(UnixSocketError, OSError):
    """A socket path has more bytes than the platform takes."""

    code = "PATH_TOO_LONG"

    def __init__(self, path: str, limit: int) -> None:
        super().__init__(f'The socket path "{path}" is longer than {limit} bytes. Use a shorter directory.')
