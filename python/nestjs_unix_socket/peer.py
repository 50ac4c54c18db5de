"""The server's view of one client: greeting, version, heartbeats, and the calls it has made."""

from __future__ import annotations

import asyncio
import os
from typing import Any, Literal, Protocol

from . import v1
from .admitted_calls import AdmittedCalls, CallRunner
from .codec import decode_json, encode_json
from .connection import Connection
from .context import ClientConnection
from .envelope import (
    NO_LIMIT,
    failure_frame,
    greeting_frame,
    notice_frame,
    response_frame,
)
from .errors import (
    FrameTooLargeError,
    MalformedFrameError,
    SendQueueFullError,
    UnixSocketError,
)
from .incoming import IncomingCall
from .messages import check_message
from .peer_liveness import PeerLiveness
from .peer_options import PeerOptions, SlowConsumerPolicy
from .push_frames import PushFrames

UNKNOWN_PEER_GRACE = 0.5
"""While draining, a client that has not said anything yet gets this long to show what it is."""
LONGEST_ERROR_TEXT = 16_384


class PeerOwner(CallRunner, Protocol):
    def on_peer_open(self, peer: Peer) -> None: ...

    def on_message(self) -> None: ...

    def on_sent(self) -> None: ...

    def on_error(self, code: str) -> None: ...

    def on_peer_closed(self, peer: Peer, cause: BaseException | None) -> None:
        """Once, last."""


class Peer:
    def __init__(self, options: PeerOptions, owner: PeerOwner) -> None:
        self.id = os.urandom(4).hex()
        self.connection = ClientConnection(self)
        self.version: Literal["v1", "v2"] | None = None
        self.is_upgraded = False
        self.client_name = ""
        self.account_id = ""
        self.max_frame_bytes = options.max_frame_bytes
        self.rooms: set[str] = set()
        self._options = options
        self._owner = owner
        self._socket = Connection(self, options.max_frame_bytes)
        self._liveness = PeerLiveness(self, self._socket, options)
        self._calls = AdmittedCalls(self, self._socket, options, owner)
        self._grace_timer: asyncio.TimerHandle | None = None
        self._writable: asyncio.Future[None] | None = None

    @property
    def socket(self) -> Connection:
        return self._socket

    @property
    def is_idle(self) -> bool:
        return self._calls.queue.is_idle

    @property
    def pending(self) -> int:
        return self._calls.queue.pending

    # --- sending

    def send_response(self, request_id: Any, json: str, extras: str) -> None:
        if self.version == "v1":
            self._socket.send(v1.response_frame(request_id, json, self.max_frame_bytes))
        else:
            self._socket.send(response_frame(request_id, json, extras, self.max_frame_bytes))
        self._owner.on_sent()
        self._check_queue()

    def send_failure(self, request_id: Any, text: str, detail: dict[str, Any]) -> None:
        text = text[:LONGEST_ERROR_TEXT]
        detail["message"] = text
        if self.version == "v1":
            frame = v1.failure_frame(request_id, text)
        else:
            try:
                frame = failure_frame(request_id, text, detail, self.max_frame_bytes)
            except UnixSocketError:
                # The text says more than why its details cannot be sent.
                detail.pop("details", None)
                frame = failure_frame(request_id, text, detail, NO_LIMIT)
        self._socket.send(frame)
        self._owner.on_sent()

    def offer_push(self, frames: PushFrames, policy: SlowConsumerPolicy) -> bool:
        """False if the push was dropped."""
        if not self._socket.is_open:
            return False
        queued = self._socket.queued_bytes
        limit = self._options.max_send_queue_bytes
        if queued > limit:
            if policy == "disconnect":
                self.destroy(SendQueueFullError(queued, limit))
            return False
        try:
            for frame in frames.for_version(self.version, self.max_frame_bytes):
                self._socket.send(frame)
        except FrameTooLargeError:
            return False
        self._owner.on_sent()
        return True

    def push(self, push_type: str, data: Any, policy: SlowConsumerPolicy) -> bool:
        options = self._options
        spoken = {"v1": options.accepts_v1, "v2": options.accepts_v2}
        versions = frozenset(version for version, is_spoken in spoken.items() if is_spoken)
        return self.offer_push(PushFrames(push_type, encode_json(data), "", options.account_id, versions), policy)

    async def writable(self) -> None:
        while self._socket.is_blocked:
            if self._writable is None:
                self._writable = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._writable)

    # --- ending

    def drain(self) -> None:
        """Takes no more calls. An upgraded client is told and leaves once it has its answers."""
        is_unknown = self._socket.bytes_received == 0
        if self.is_upgraded or is_unknown:
            self._socket.send(notice_frame("", "The server is shutting down.", "GOING_AWAY"))
        self._calls.drain()
        if is_unknown:
            self._grace_timer = asyncio.get_running_loop().call_later(UNKNOWN_PEER_GRACE, self._end_if_done)
        else:
            self._end_if_done()

    def abort(self) -> int:
        """Cancels what runs and ends the connection. Returns how many calls that were."""
        cancelled = self._calls.cancel_all()
        self._socket.end()
        return cancelled

    def close(self, reason: str | None = None) -> None:
        if reason is not None and self.is_upgraded:
            self._socket.send(notice_frame("", reason, "CLOSED"))
        self._socket.end()

    def refuse(self, code: str, text: str) -> None:
        """Turns the connection away instead of greeting."""
        self._socket.send(notice_frame("", text, code))
        self._socket.end()

    def destroy(self, cause: UnixSocketError) -> None:
        self._owner.on_error(cause.code)
        self._socket.destroy(cause)

    # --- called by the connection

    def on_open(self) -> None:
        self._liveness.start()
        self._owner.on_peer_open(self)

    def greet(self) -> None:
        options = self._options
        self._socket.send(greeting_frame(options.account_id, self.id, options.max_frame_bytes, options.accepts_v1))

    def on_body(self, body: bytes) -> None:
        try:
            self._on_value(decode_json(body), len(body))
        except MalformedFrameError as error:
            self._owner.on_error(error.code)
            raise

    def on_end(self) -> None:
        # One of ours never half-closes with calls pending, so it has gone; a plain one may wait for its answers.
        if self.is_upgraded or self.is_idle:
            self._socket.end()
        else:
            self._liveness.on_half_open()

    def on_writable(self) -> None:
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None
        self._calls.queue.pump()

    def on_closed(self, cause: BaseException | None) -> None:
        self._liveness.stop()
        if self._grace_timer is not None:
            self._grace_timer.cancel()
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None
        self._calls.on_closed()
        self._owner.on_peer_closed(self, cause)

    # --- called by calls

    def on_settled(self, call: IncomingCall) -> None:
        self._calls.queue.on_settled(call)

    def on_finished(self, call: IncomingCall) -> None:
        self._calls.queue.on_finished(call)
        if self._liveness.is_half_open or self._calls.is_draining:
            self._end_if_done()

    def on_overload(self) -> None:
        self._owner.on_error("OVERLOADED")
        self._check_queue()

    # --- private

    def _on_value(self, value: Any, size: int) -> None:
        if self.version is None:
            self.version = self._tell_version(value)
        self._owner.on_message()
        if self.version == "v1":
            if not isinstance(value, dict):
                raise MalformedFrameError("the body is no object")
            translated = v1.from_client(value)
            if translated is None:
                return
            body = translated
            if body["data"]["type"] == "ping":
                self.send_response(body["request_id"], '{"status":"ok"}', "")
                return
        else:
            body = check_message(value)
        kind = body["msg_type"]
        if kind == "request":
            self._calls.receive("request", body, size)
        elif kind == "heartbeat":
            self._on_heartbeat(body)
        elif kind == "push":
            self._calls.receive("event", body, size)
        elif kind == "error" and self.is_upgraded:
            self._calls.cancel(body["request_id"])

    def _tell_version(self, value: Any) -> Literal["v1", "v2"]:
        if not self._options.accepts_v1:
            return "v2"
        if not self._options.accepts_v2 or (isinstance(value, dict) and "msg_type" not in value and "type" in value):
            return "v1"
        return "v2"

    def _check_queue(self) -> None:
        queued = self._socket.queued_bytes
        limit = self._options.max_send_queue_bytes
        if queued > limit + self.max_frame_bytes:
            self.destroy(SendQueueFullError(queued, limit))

    def _end_if_done(self) -> None:
        if not self.is_upgraded and self.is_idle:
            self._socket.end()

    def _on_heartbeat(self, body: dict[str, Any]) -> None:
        if "hello" in body and not self.is_upgraded:
            self._upgrade(body["hello"])
        self._liveness.on_heartbeat(body)

    def _upgrade(self, hello: Any) -> None:
        if not isinstance(hello, dict) or not isinstance(hello.get("name"), str):
            return
        if not isinstance(hello.get("caps"), list):
            return
        self.is_upgraded = True
        self.client_name = hello["name"][:200]
        self.account_id = str(hello.get("account_id", ""))[:200]
        limit = hello.get("max_frame_bytes")
        if type(limit) is int and limit > 0:
            self.max_frame_bytes = min(self.max_frame_bytes, limit)
        if self._calls.is_draining:
            self._socket.send(notice_frame("", "The server is shutting down.", "GOING_AWAY"))
