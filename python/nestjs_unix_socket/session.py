"""One connection of a client: greeting, hello, heartbeats. Never reused."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from . import v1
from .codec import decode_json
from .connection import Connection
from .endpoint import Endpoint
from .envelope import call_frame, extra, heartbeat_frame, hello_extra, notice_frame
from .errors import (
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    FrameTimeoutError,
    MalformedFrameError,
    PeerSilentError,
    RefusedByServerError,
    UnixSocketError,
)
from .liveness import Liveness
from .messages import check_message

BUSY_PLAIN_SERVER_SILENCE = 75.0
"""A plain server answers nothing while a handler runs, but cuts by itself after 60 to 65 seconds."""


@dataclass(frozen=True)
class SessionOptions:
    """Times in seconds."""

    account_id: str
    connect_timeout: float
    heartbeat_interval: float
    heartbeat_timeout: float
    frame_timeout: float
    max_frame_bytes: int
    await_greeting: bool
    protocol: Literal["auto", "v2", "v1"]


class SessionOwner(Protocol):
    def on_response(self, session: Session, body: dict[str, Any], size: int) -> None: ...

    def on_push(self, push_type: Any, data: Any, size: int) -> None: ...

    def on_going_away(self, session: Session) -> None: ...

    def on_session_closed(self, session: Session, error: UnixSocketError) -> None:
        """Once, last, for a session that was ready."""


class Session:
    def __init__(self, endpoint: Endpoint, options: SessionOptions, owner: SessionOwner) -> None:
        self.label = str(endpoint)
        self._endpoint = endpoint
        self._options = options
        self._owner = owner
        self.version: Literal["v1", "v2"] | None = None
        self.is_upgraded = False
        self.is_ready = False
        self.is_retired = False
        self.in_flight = 0
        self.max_frame_bytes = options.max_frame_bytes
        self.conn_id = ""
        self._unanswered: set[str] = set()
        self._probes = 0
        self._beat_waiters: list[asyncio.Future[None]] = []
        self._greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connection = Connection(self, options.max_frame_bytes)
        self._liveness = Liveness(
            self,
            options.heartbeat_interval,
            options.heartbeat_timeout if options.heartbeat_interval > 0 else 0,
            options.frame_timeout,
        )

    async def open(self) -> None:
        """Connects and waits for the greeting. Raises ConnectError, ConnectTimeoutError and the like."""
        timeout = self._options.connect_timeout
        try:
            await asyncio.wait_for(self._open(), timeout)
        except asyncio.TimeoutError:
            self.destroy()
            raise ConnectTimeoutError(self.label, timeout) from None
        except OSError as error:
            self.destroy()
            raise (error if isinstance(error, UnixSocketError) else ConnectError(self.label, error)) from None
        except BaseException:
            self.destroy()
            raise
        finally:
            self._greeted.cancel()

    @property
    def closed(self) -> asyncio.Future[None]:
        return self._connection.closed

    @property
    def bytes_received(self) -> int:
        return self._connection.bytes_received

    @property
    def bytes_sent(self) -> int:
        return self._connection.bytes_sent

    @property
    def queued_bytes(self) -> int:
        return self._connection.queued_bytes

    @property
    def has_partial_frame(self) -> bool:
        return self._connection.has_partial_frame

    def send_request(
        self, request_id: str, request_type: str, json: str, meta: Mapping[str, str] | None, deadline_ms: int | None
    ) -> None:
        """Raises FrameTooLargeError."""
        if self.version == "v1":
            self._connection.send(v1.request_frame(request_id, request_type, json, self.max_frame_bytes))
            return
        extras = "" if meta is None else extra("meta", dict(meta))
        if deadline_ms is not None and self.is_upgraded:
            extras += f',"deadline_ms":{deadline_ms}'
        frame = call_frame("request", request_id, request_type, json, extras, self.max_frame_bytes)
        if not self.is_upgraded:
            self._unanswered.add(request_id)
        self._connection.send(frame)

    def send_push(self, request_id: str, push_type: str, json: str, meta: Mapping[str, str] | None) -> None:
        extras = "" if meta is None else extra("meta", dict(meta))
        self._connection.send(call_frame("push", request_id, push_type, json, extras, self.max_frame_bytes))

    def send_cancel(self, request_id: str) -> None:
        if self.is_upgraded:
            self._connection.send(notice_frame(request_id, "cancelled"))

    async def ping(self) -> None:
        """Returns with the answer to a heartbeat."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._beat_waiters.append(waiter)
        try:
            self.beat()
            await waiter
        finally:
            if waiter in self._beat_waiters:
                self._beat_waiters.remove(waiter)

    def end(self) -> None:
        self._connection.end()

    def destroy(self, cause: UnixSocketError | None = None) -> None:
        self._connection.destroy(cause)

    # --- called by the connection and by liveness

    def on_open(self) -> None:
        if not self._options.await_greeting:
            self.version = "v2"
            self._become_ready()

    def on_body(self, body: bytes) -> None:
        value = decode_json(body)
        if self.version is None:
            self._on_greeting(value)
            return
        if self.version == "v1":
            if not isinstance(value, dict):
                raise MalformedFrameError("the body is no object")
            translated = v1.from_server(value)
            if translated is None:
                return
            value = translated
        else:
            value = check_message(value)
        kind = value["msg_type"]
        if kind == "response":
            request_id = value["request_id"]
            if isinstance(request_id, str):
                self._unanswered.discard(request_id)
                self._owner.on_response(self, value, len(body))
            elif isinstance(request_id, (dict, list, bytes)):
                raise MalformedFrameError("the id of a response is no string")
        elif kind == "push":
            data = value["data"] if isinstance(value["data"], dict) else {}
            self._owner.on_push(data.get("type", "unknown"), data.get("data", {}), len(body))
        elif kind == "heartbeat":
            self._on_heartbeat(value)
        elif kind == "error" and value["request_id"] == "":
            detail = value.get("error_detail")
            if isinstance(detail, dict) and detail.get("code") == "GOING_AWAY":
                self._owner.on_going_away(self)

    def on_end(self) -> None:
        # No answer can come any more, and some servers never close by themselves.
        self._connection.destroy()

    def on_writable(self) -> None:
        """Nothing waits for it: what is queued is bounded when calls are made."""

    def on_closed(self, cause: BaseException | None) -> None:
        self._liveness.stop()
        for waiter in self._beat_waiters:
            waiter.cancel()
        error = cause if isinstance(cause, UnixSocketError) else ConnectionLostError(self.label, cause=cause)
        if self.is_ready:
            self._owner.on_session_closed(self, error)
        elif not self._greeted.done():
            self._greeted.set_exception(error)

    def silence_limit(self) -> float:
        limit = self._options.heartbeat_timeout
        if self.version == "v1" or self._options.heartbeat_interval <= 0:
            return 0
        return max(limit, BUSY_PLAIN_SERVER_SILENCE) if limit > 0 and self._unanswered else limit

    def beat(self) -> None:
        if self.version == "v1":
            return
        self._probes += 1
        self._connection.send(heartbeat_frame(f',"probe":{self._probes}' if self.is_upgraded else ""))

    def on_silent(self, limit: float) -> None:
        self.destroy(PeerSilentError(self.label, limit))

    def on_stuck_frame(self, limit: float) -> None:
        self.destroy(FrameTimeoutError(limit))

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        endpoint = self._endpoint
        if endpoint.path is not None:
            await loop.create_unix_connection(lambda: self._connection, endpoint.path)
        else:
            await loop.create_connection(lambda: self._connection, endpoint.host, endpoint.port)
        await self._greeted

    def _on_greeting(self, value: Any) -> None:
        if not isinstance(value, dict):
            raise MalformedFrameError("the body is no object")
        protocol = self._options.protocol
        if protocol != "v2" and value.get("type") == "register" and (protocol == "v1" or "msg_type" not in value):
            self.version = "v1"
            account_id = value.get("account_id")
            if self._options.account_id and account_id != self._options.account_id:
                raise RefusedByServerError(self.label, f"it serves the account {account_id!r}")
            self._become_ready()
            return
        body = check_message(value)
        if body["msg_type"] == "error":
            raise RefusedByServerError(self.label, str(body.get("error")))
        if body["msg_type"] != "response" or body["request_id"] != "":
            return
        data = body["data"] if isinstance(body["data"], dict) else {}
        limit = data.get("max_frame_bytes")
        if isinstance(limit, int) and limit > 0:
            self.max_frame_bytes = min(self.max_frame_bytes, limit)
        self.conn_id = str(data.get("conn_id", ""))
        self.version = "v2"
        self.is_upgraded = isinstance(data.get("caps"), list)
        self._become_ready()

    def _become_ready(self) -> None:
        self.is_ready = True
        self._liveness.start()
        if self.is_upgraded:
            self._probes += 1
            hello = hello_extra(self._options.account_id, self._options.max_frame_bytes)
            self._connection.send(heartbeat_frame(f'{hello},"probe":{self._probes}'))
        if not self._greeted.done():
            self._greeted.set_result(None)

    def _on_heartbeat(self, body: dict[str, Any]) -> None:
        probe = body.get("probe")
        # Only a probe is answered: a client that answered plain heartbeats would beat with its server for ever.
        if self.is_upgraded and type(probe) is int and probe >= 0:
            self._connection.send(heartbeat_frame(f',"probe_ack":{probe}'))
        if self.is_upgraded and "probe_ack" not in body:
            return
        for waiter in self._beat_waiters:
            if not waiter.done():
                waiter.set_result(None)
