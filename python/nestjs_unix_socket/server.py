"""The server: listens, keeps its clients, runs handlers and pushes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal

from .codec import encode_json
from .context import ClientConnection, PushOutcome, RequestContext
from .endpoint import parse_endpoint
from .envelope import UNKNOWN_REQUEST_TYPE, extra
from .errors import UnixSocketError
from .frames import MAX_FRAME_BYTES
from .incoming import IncomingCall
from .listener import Listener
from .messages import MessageBody, MessageType
from .peer import Peer
from .peer_options import PeerOptions, SlowConsumerPolicy
from .push_frames import PushFrames
from .registry import Handler, RequestHandlerRegistry

_MIB = 1024 * 1024
_NO_META: Mapping[str, str] = {}
_POLL = 0.02


class SocketServer:
    """`socket_path` is the path of a Unix socket or `host:port`. All times are seconds, 0 for never.

    Requests of one connection run side by side, at most `max_concurrent_per_connection` at a time;
    `handling="sequential"` keeps their order, as the original server does. Clients of the protocol's first and
    second version share the socket.
    """

    def __init__(
        self,
        socket_path: str | os.PathLike[str],
        account_id: str = "",
        enable_health_check: bool = True,
        health_check_interval: float = 15.0,
        *,
        handling: Literal["concurrent", "sequential"] = "concurrent",
        heartbeat_timeout: float = 60.0,
        frame_timeout: float = 30.0,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        max_connections: int = 10_000,
        max_concurrent_per_connection: int = 1024,
        max_queued_per_connection: int = 65_536,
        max_queued_bytes_per_connection: int = 64 * _MIB,
        max_send_queue_bytes: int = 64 * _MIB,
        slow_consumers: SlowConsumerPolicy = "disconnect",
        drain_timeout: float = 10.0,
        backlog: int = 511,
        mode: int = 0o600,
        protocols: tuple[Literal["v1", "v2"], ...] = ("v2", "v1"),
    ) -> None:
        if handling not in ("concurrent", "sequential"):
            raise ValueError(f"handling is {handling!r}; expected 'concurrent' or 'sequential'")
        if not protocols or not set(protocols) <= {"v1", "v2"}:
            raise ValueError(f"protocols is {protocols!r}; expected 'v2', 'v1' or both")
        self._listener = Listener(parse_endpoint(socket_path), mode, backlog, self._accept)
        self.socket_path = os.fspath(socket_path)
        self.account_id = account_id
        self._versions = frozenset(protocols)
        self._options = PeerOptions(
            account_id=account_id,
            heartbeat_interval=health_check_interval if enable_health_check else 0,
            heartbeat_timeout=heartbeat_timeout if enable_health_check else 0,
            frame_timeout=frame_timeout,
            max_frame_bytes=max_frame_bytes,
            max_send_queue_bytes=max_send_queue_bytes,
            max_concurrent=1 if handling == "sequential" else max_concurrent_per_connection,
            max_queued=max_queued_per_connection,
            max_queued_bytes=max_queued_bytes_per_connection,
            accepts_v1="v1" in protocols,
            accepts_v2="v2" in protocols,
        )
        self._max_connections = max_connections
        self._slow_consumers: SlowConsumerPolicy = slow_consumers
        self._drain_timeout = drain_timeout
        self._registry = RequestHandlerRegistry()
        self._peers: dict[str, Peer] = {}
        self._stopped: asyncio.Future[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._lingering: set[Peer] = set()
        self._counts = {"total_connections": 0, "messages_received": 0, "messages_sent": 0, "errors": 0}
        self._errors_by_code: dict[str, int] = {}

    # --- life

    async def start(self) -> None:
        """Listens and serves until `stop()`; ended by a cancellation it stops as well."""
        await self.listen()
        stopped = self._stopped
        assert stopped is not None
        try:
            await asyncio.shield(stopped)
        except asyncio.CancelledError:
            await self.stop()
            raise

    async def listen(self) -> None:
        """Returns once clients can connect. Raises AddressInUseError, PathTooLongError, OSError."""
        if not self._listener.is_open:
            await self._listener.open()
            self._stopped = asyncio.get_running_loop().create_future()

    async def stop(self, drain_timeout: float | None = None) -> None:
        """Gives up the address, tells upgraded clients, waits at most `drain_timeout` for running requests, cancels
        the rest, and ends every connection. Idempotent."""
        if self._stopping is None:
            if not self._listener.is_open:
                return
            limit = self._drain_timeout if drain_timeout is None else drain_timeout
            self._stopping = asyncio.get_running_loop().create_task(self._stop(limit))
        await asyncio.shield(self._stopping)

    async def __aenter__(self) -> SocketServer:
        await self.listen()
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def address(self) -> str | None:
        """Where it listens, with the real port; None when it does not."""
        return self._listener.address

    # --- handlers

    def register_handler(self, message_type: str, handler: Handler) -> None:
        """`handler(data)` or `handler(data, context)`: a function, a coroutine function, or an async generator
        function for a stream. Plain functions run in the event loop: they must not block. The last one wins."""
        self._registry.add(message_type, handler)

    def register_handlers_from_instance(self, instance: object) -> None:
        """Every method marked with `@request(type)`."""
        self._registry.add_from_instance(instance)

    # --- pushing

    def push(
        self,
        push_type: str,
        data: Any = None,
        *,
        room: str | None = None,
        connection_id: str | None = None,
        meta: Mapping[str, str] | None = None,
        policy: SlowConsumerPolicy | None = None,
    ) -> PushOutcome:
        """To every client, those in one room, or one. Waits for nobody: for a client that does not read, more than
        `max_send_queue_bytes` are not kept, and `policy` says whether it is disconnected or misses the push. Raises
        EncodeError."""
        if connection_id is not None:
            peer = self._peers.get(connection_id)
            peers = [] if peer is None else [peer]
        else:
            peers = list(self._peers.values())
        if room is not None:
            peers = [peer for peer in peers if room in peer.rooms]
        extras = "" if meta is None else extra("meta", dict(meta))
        frames = PushFrames(push_type, encode_json(data), extras, self.account_id, self._versions)
        chosen = policy or self._slow_consumers
        recipients = sum([peer.offer_push(frames, chosen) for peer in peers])
        return PushOutcome(recipients, len(peers) - recipients)

    async def send_push(
        self, push_type: str, data: Any = None, *, room: str | None = None, connection_id: str | None = None
    ) -> bool:
        """As `push`; true if it is on its way to at least one client."""
        return self.push(push_type, data, room=room, connection_id=connection_id).recipients > 0

    async def send_message(self, message: MessageBody) -> bool:
        """A push, as the original sends it. Other kinds have no meaning from a server and are refused."""
        if message.msg_type is not MessageType.PUSH or not isinstance(message.data, dict):
            raise ValueError("only pushes can be sent to every client")
        return await self.send_push(str(message.data.get("type")), message.data.get("data"))

    # --- state

    @property
    def connections(self) -> list[ClientConnection]:
        return [peer.connection for peer in self._peers.values()]

    def is_connected(self) -> bool:
        """Whether there is at least one client."""
        return bool(self._peers)

    def get_connection_count(self) -> int:
        return len(self._peers)

    def get_stats(self) -> dict[str, Any]:
        count = len(self._peers)
        return {
            **self._counts,
            "active_connections": count,
            "total_clients": count,
            "running_requests": sum(peer.pending for peer in self._peers.values()),
            "errors_by_code": dict(self._errors_by_code),
        }

    # --- called by peers

    def on_peer_open(self, peer: Peer) -> None:
        if self._stopping is not None:
            peer.refuse("DRAINING", "The server is shutting down.")
        elif len(self._peers) >= self._max_connections:
            peer.refuse("TOO_MANY_CONNECTIONS", "The server has enough connections.")
        else:
            self._peers[peer.id] = peer
            self._counts["total_connections"] += 1
            peer.greet()
            return
        self._lingering.add(peer)

    def run(self, call: IncomingCall, connection: ClientConnection) -> None:
        request_type = call.type
        registry = self._registry
        handler = registry.get_handler(request_type) if type(request_type) is str else None
        if handler is None:
            call.fail_unknown(UNKNOWN_REQUEST_TYPE)
            return
        try:
            if registry.wants_context(request_type):
                meta = _NO_META if call.meta is None else call.meta
                context = RequestContext(request_type, connection, meta, call.kind == "event")
                result = handler(call.data, context)
            else:
                result = handler(call.data)
        except Exception as error:
            call.finish(error)
            return
        call.take(result)

    def on_message(self) -> None:
        self._counts["messages_received"] += 1

    def on_sent(self) -> None:
        self._counts["messages_sent"] += 1

    def on_error(self, code: str) -> None:
        self._counts["errors"] += 1
        self._errors_by_code[code] = self._errors_by_code.get(code, 0) + 1

    def on_peer_closed(self, peer: Peer, cause: BaseException | None) -> None:
        self._lingering.discard(peer)
        if self._peers.get(peer.id) is peer:
            del self._peers[peer.id]
            if cause is not None and not isinstance(cause, UnixSocketError):
                self.on_error("CONNECTION_LOST")
        if not peer.is_idle:
            # Its events run on: nobody ever waited for them.
            self._lingering.add(peer)

    # --- private

    def _accept(self) -> asyncio.Protocol:
        return Peer(self._options, self).socket

    async def _stop(self, drain_timeout: float) -> None:
        self._listener.close()
        # Connections that were accepted but not yet made are turned away as they come.
        peers = list(self._peers.values())
        for peer in peers:
            peer.drain()
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + drain_timeout
        while loop.time() < give_up_at and self._has_work():
            await asyncio.sleep(_POLL)
        remaining = [*self._peers.values(), *self._lingering]
        for peer in remaining:
            peer.abort()
        closing = [peer.socket.closed for peer in remaining if not peer.socket.closed.done()]
        if closing:
            await asyncio.wait(closing)
        # Handlers that were cancelled get the time that their `finally` takes.
        while any(not peer.is_idle for peer in remaining) and loop.time() < give_up_at + 1:
            await asyncio.sleep(_POLL / 10)
        self._lingering.clear()
        await self._listener.wait_closed()
        self._stopping = None
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)

    def _has_work(self) -> bool:
        lingering = [peer for peer in self._lingering if not peer.is_idle]
        return bool(self._peers or lingering)
