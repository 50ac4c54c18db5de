"""The client: a lasting relation to one server, over many connections."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal, TypeVar

from .backoff import BackoffStrategy
from .call import StreamCall, UnaryCall
from .codec import encode_json
from .endpoint import parse_endpoint
from .errors import UnixSocketError
from .frames import MAX_FRAME_BYTES
from .link import Link
from .pushes import PushDispatcher, PushHandler, PushSubscription
from .session import SessionOptions
from .stream import ResponseStream

Callback = Callable[[], Any]
_Handler = TypeVar("_Handler", bound=PushHandler)
_MIB = 1024 * 1024


class SocketClient:
    """Calls a server and hears its pushes. Every call ends with a value or an exception.

    `socket_path` is the path of a Unix socket or `host:port`. All times are seconds. `max_reconnect_attempts` 0 is
    endless. `request_timeout` 0 is never. Delays of reconnecting are random up to a bound that grows from
    `reconnect_interval` to `max_reconnect_delay`.
    """

    def __init__(
        self,
        socket_path: str | os.PathLike[str],
        account_id: str = "",
        on_data_callback: PushHandler | None = None,
        auto_reconnect: bool = True,
        reconnect_interval: float = 0.5,
        max_reconnect_attempts: int = 0,
        heartbeat_interval: float = 15.0,
        request_timeout: float = 10.0,
        *,
        connect_timeout: float = 5.0,
        max_reconnect_delay: float = 15.0,
        heartbeat_timeout: float = 45.0,
        frame_timeout: float = 30.0,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        max_send_queue_bytes: int = 64 * _MIB,
        max_offline_calls: int = 65_536,
        max_queued_pushes: int = 10_000,
        await_greeting: bool = True,
        protocol: Literal["auto", "v2", "v1"] = "auto",
    ) -> None:
        endpoint = parse_endpoint(socket_path)
        self.socket_path = os.fspath(socket_path)
        self.account_id = account_id
        self.heartbeat_interval = heartbeat_interval
        self.request_timeout = request_timeout
        self.max_reconnect_attempts = max_reconnect_attempts
        options = SessionOptions(
            account_id=account_id,
            connect_timeout=connect_timeout,
            heartbeat_interval=heartbeat_interval,
            heartbeat_timeout=heartbeat_timeout,
            frame_timeout=frame_timeout,
            max_frame_bytes=max_frame_bytes,
            await_greeting=await_greeting,
            protocol=protocol,
        )
        self._pushes = PushDispatcher(on_data_callback, max_queued_pushes)
        self._link = Link(
            endpoint,
            options,
            self._pushes,
            BackoffStrategy(reconnect_interval, max_reconnect_delay, jitter=True),
            auto_reconnect=auto_reconnect,
            max_attempts=max_reconnect_attempts,
            max_send_queue_bytes=max_send_queue_bytes,
            max_offline_calls=max_offline_calls,
        )

    # --- connecting

    async def connect(self, retry_interval: float = 3.0, max_retries: int = 30) -> bool:
        """Makes at most `max_retries` attempts, the first at once. True when connected, also if it was already.
        Raises the error of the last attempt: ConnectError, ConnectTimeoutError, RefusedByServerError …"""
        await self._link.connect(retry_interval, max_retries)
        return True

    async def disconnect(self, drain_timeout: float = 0.0) -> None:
        """Waits at most `drain_timeout` for answers, fails what is still pending, and leaves nothing behind."""
        await self._link.disconnect(drain_timeout)

    async def __aenter__(self) -> SocketClient:
        await self.connect()
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self.disconnect()

    def start_auto_reconnect(self) -> None:
        """Comes back after a loss, from now on; at once if there is no connection."""
        self._link.start_auto_reconnect()

    def stop_auto_reconnect(self) -> None:
        self._link.stop_auto_reconnect()

    def set_connect_callback(self, callback: Callback | None) -> None:
        """`callback()`, sync or async, each time a connection is ready."""
        self._link.on_connect = callback

    def set_disconnect_callback(self, callback: Callback | None) -> None:
        """`callback()`, sync or async, each time a connection has ended."""
        self._link.on_disconnect = callback

    # --- calling

    async def request(
        self,
        request_type: str,
        data: Any = None,
        timeout: float | None = None,
        *,
        meta: Mapping[str, str] | None = None,
    ) -> Any:
        """The handler's result; the last value if it answers with a stream.

        A `timeout` given here bounds the whole call and reaches an upgraded server as its deadline. Cancelling the
        awaiting task cancels the handler of an upgraded server. Raises RemoteError, RequestTimeoutError,
        ConnectionLostError, RefusedError, NotConnectedError, EncodeError, FrameTooLargeError and ClientClosedError.
        """
        limit = self.request_timeout if timeout is None else timeout
        call = UnaryCall(request_type, encode_json(data), limit, timeout is not None, meta)
        self._link.calls.begin(call)
        try:
            return await call.future
        except asyncio.CancelledError:
            self._link.calls.cancel(call)
            raise

    def stream(
        self,
        request_type: str,
        data: Any = None,
        timeout: float | None = None,
        *,
        idle_timeout: float = 0.0,
        meta: Mapping[str, str] | None = None,
        max_buffered: int = 65_536,
        max_buffered_bytes: int = 64 * _MIB,
    ) -> ResponseStream:
        """The values of a handler that answers with a stream, one by one: `async for value in client.stream(…)`.

        `request_timeout` bounds the wait for the first value and `idle_timeout` each further one; a `timeout` given
        here bounds the whole. Leaving the loop cancels the handler. A plain server gives one value, the last.
        """
        limit = self.request_timeout if timeout is None else timeout
        call = StreamCall(
            request_type,
            encode_json(data),
            limit,
            timeout is not None,
            meta,
            idle_timeout,
            max_buffered,
            max_buffered_bytes,
        )
        return ResponseStream(self._link.calls, call)

    async def emit(
        self,
        event_type: str,
        data: Any = None,
        *,
        meta: Mapping[str, str] | None = None,
        acknowledged: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Sends an event. With `acknowledged` it returns when its handlers are done, and raises as `request` does."""
        if acknowledged:
            await self.request(event_type, data, timeout, meta=meta)
            return
        json = encode_json(data)
        if not self._link.calls.emit(event_type, json, meta):
            limit = self.request_timeout if timeout is None else timeout
            call = UnaryCall(event_type, json, limit, False, meta)
            # Nobody waits for the answer.
            call.future.add_done_callback(_forget)
            self._link.calls.begin(call)

    # --- pushes

    def on_push(self, push_type: str) -> Callable[[_Handler], _Handler]:
        """Decorator for `handler(push_type, data)`, sync or async. One for each type; the last wins."""

        def register(handler: _Handler) -> _Handler:
            self._pushes.set_handler(push_type, handler)
            return handler

        return register

    @property
    def on_data_callback(self) -> PushHandler | None:
        """`callback(push_type, data)` for pushes whose type has no handler of its own."""
        return self._pushes.fallback

    @on_data_callback.setter
    def on_data_callback(self, callback: PushHandler | None) -> None:
        self._pushes.fallback = callback

    def pushes(
        self, push_type: str | None = None, *, max_buffered: int = 1000, max_buffered_bytes: int = 64 * _MIB
    ) -> PushSubscription:
        """Pushes of one type, or all, from now on: `async for push_type, data in client.pushes()`."""
        return self._pushes.subscribe(push_type, max_buffered, max_buffered_bytes)

    # --- state

    def is_connected(self) -> bool:
        return self._link.ready_session is not None

    async def health_check(self, timeout: float = 3.0) -> bool:
        """Whether the server answers now: a real round trip. False when not connected."""
        session = self._link.ready_session
        if session is None:
            return False
        try:
            if session.version == "v1":
                await self.request("ping", {}, timeout)
            else:
                await asyncio.wait_for(session.ping(), timeout)
            return True
        except (UnixSocketError, asyncio.TimeoutError):
            return False
        except asyncio.CancelledError:
            # The wait ends so when the connection does.
            if session.closed.done():
                return False
            raise

    def get_stats(self) -> dict[str, Any]:
        session = self._link.ready_session
        return {
            "connected": session is not None,
            "pending_requests": self._link.calls.pending,
            "auto_reconnect": self._link.auto_reconnect,
            "heartbeat_interval": self.heartbeat_interval,
            "reconnect_attempts": self.max_reconnect_attempts,
            "connects": self._link.connects,
            "timeouts": self._link.calls.timeouts,
            "dropped_pushes": self._pushes.dropped,
            "upgraded": session is not None and session.is_upgraded,
            "protocol": None if session is None else session.version,
            "connection_id": None if session is None else session.conn_id,
            "queued_bytes": 0 if session is None else session.queued_bytes,
        }


def _forget(answer: asyncio.Future[Any]) -> None:
    if not answer.cancelled():
        answer.exception()
