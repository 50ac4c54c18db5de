"""The server half of the stand-ins; see `reference_peer.py`. Remarks that begin with "Habit:" mark what is
deliberately as the deployed server does it."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import time
from contextlib import suppress
from typing import Any, Callable

from callbacks import log, run_callback
from wire import (
    Message,
    encode,
    heartbeat_message,
    listen,
    new_id,
    push_message,
    read_message,
    response_message,
    tcp_address,
)

Handler = Callable[[Any], Any]


def request(message_type: str) -> Callable[[Handler], Handler]:
    """Marks a method for `register_handlers_from_instance`."""

    def mark(func: Handler) -> Handler:
        @functools.wraps(func)
        async def handler(*args: Any) -> Any:
            try:
                result = func(*args)
                return await result if inspect.iscoroutinefunction(func) else result
            except Exception:
                log.info("handler of %s failed", message_type, exc_info=True)
                raise

        handler.message_type = message_type  # type: ignore[attr-defined]
        return handler

    return mark


class _Connection:
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.conn_id = new_id()[:8]
        self.writer = writer
        self.last_heartbeat = time.monotonic()
        self.alive = True

    async def send(self, message: Message) -> bool:
        """Habit: a message that cannot be encoded, like a failed write, marks the connection dead for good
        without closing it."""
        if not self.alive:
            return False
        try:
            self.writer.write(encode(message))
            await self.writer.drain()
        except Exception as error:
            log.info("cannot send to %s: %r", self.conn_id, error)
            self.alive = False
        return self.alive

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


class SocketServer:
    """`health_check_interval` is stored and never used.

    `stop_waits` chooses what `stop()` does, which in the original depends on the version of Python: cut all
    clients at once (3.11), or wait until they have left by themselves (3.12 and later).
    """

    def __init__(
        self,
        socket_path: str,
        account_id: str,
        enable_health_check: bool = True,
        health_check_interval: float = 30.0,
        *,
        heartbeat_timeout: float = 60.0,
        look_interval: float = 5.0,
        stop_waits: bool = False,
        observer: Callable[[str, Message], None] | None = None,
        on_connect: Callable[[str], Any] | None = None,
        on_disconnect: Callable[[str], Any] | None = None,
    ) -> None:
        self.socket_path = socket_path
        self.account_id = account_id
        self.enable_health_check = enable_health_check
        self.health_check_interval = health_check_interval
        self.heartbeat_timeout = heartbeat_timeout
        self.look_interval = look_interval
        self.stop_waits = stop_waits
        self.observer = observer
        self.on_connect = on_connect
        self.on_disconnect = on_disconnect
        self._handlers: dict[Any, Handler] = {}
        self._connections: dict[str, _Connection] = {}
        self._lock = asyncio.Lock()
        self._running = False
        self._listener: asyncio.AbstractServer | None = None
        self._serving: asyncio.Future[None] | None = None
        self._reaping: asyncio.Task[None] | None = None
        self._counts = {"total_connections": 0, "messages_received": 0, "messages_sent": 0, "errors": 0}

    async def start(self) -> None:
        """Serves until `stop()` and then ends with a cancellation. Habit: removes whatever is at the path."""
        if tcp_address(self.socket_path) is None:
            if os.path.lexists(self.socket_path):
                os.unlink(self.socket_path)
            os.makedirs(os.path.dirname(self.socket_path) or ".", exist_ok=True)
        self._running = True
        self._listener = await listen(self.socket_path, self._serve)
        if self.enable_health_check:
            self._reaping = asyncio.create_task(self._reap())
        self._serving = asyncio.get_running_loop().create_future()
        await self._serving

    @property
    def address(self) -> str | None:
        """Where it listens, with the real port; None before and after."""
        if self._listener is None or not self._listener.sockets:
            return None
        if tcp_address(self.socket_path) is None:
            return self.socket_path
        host, port = self._listener.sockets[0].getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def stop(self) -> None:
        """Habit: removes whatever is at the path by now."""
        self._running = False
        if self._listener is not None:
            self._listener.close()
        if self._reaping is not None:
            self._reaping.cancel()
        while self.stop_waits and self._connections:
            await asyncio.sleep(0.02)
        for connection in list(self._connections.values()):
            connection.writer.close()
        if tcp_address(self.socket_path) is None:
            with suppress(FileNotFoundError):
                os.unlink(self.socket_path)
        if self._serving is not None:
            self._serving.cancel()
        self._listener = self._serving = self._reaping = None

    def register_handler(self, message_type: str, handler: Handler) -> None:
        self._handlers[message_type] = handler

    def register_handlers_from_instance(self, instance: object) -> None:
        for name in dir(instance):
            if name.startswith("_") and not name.startswith("_req_"):
                continue
            handler = getattr(instance, name)
            if hasattr(handler, "message_type"):
                self.register_handler(handler.message_type, handler)

    async def send_push(self, push_type: str, data: Any) -> bool:
        return await self.send_message(push_message(push_type, data))

    async def send_heartbeat(self) -> bool:
        return await self.send_message(heartbeat_message())

    async def send_message(self, message: Message) -> bool:
        """To every connection; true if at least one was written. Habit: one after another, so a client that
        does not read holds up the rest."""
        async with self._lock:
            connections = list(self._connections.values())
        written = 0
        for connection in connections:
            written += await connection.send(message)
        if message.msg_type != "heartbeat":
            self._counts["messages_sent"] += written
        return written > 0

    async def send_bytes(self, data: bytes) -> None:
        """Bytes as they are to every connection, for tests of a client's patience."""
        for connection in list(self._connections.values()):
            connection.writer.write(data)

    def drop_connections(self) -> int:
        """Cuts every connection without a word, as a crash would; the server goes on listening."""
        connections = list(self._connections.values())
        for connection in connections:
            connection.writer.transport.abort()
        return len(connections)

    def is_connected(self) -> bool:
        return bool(self._connections)

    def get_connection_count(self) -> int:
        return len(self._connections)

    def get_stats(self) -> dict[str, Any]:
        count = len(self._connections)
        return {**self._counts, "active_connections": count, "total_clients": count}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Habit: strictly one frame after another. A slow handler delays everything behind it on this
        connection, answers to heartbeats too."""
        connection = _Connection(writer)
        try:
            async with self._lock:
                self._connections[connection.conn_id] = connection
            self._counts["total_connections"] += 1
            await run_callback(self.on_connect, connection.conn_id)
            await connection.send(
                response_message("", {"account_id": self.account_id, "conn_id": connection.conn_id})
            )
            while self._running and connection.alive:
                message = await read_message(reader)
                if message is None:
                    break
                self._counts["messages_received"] += 1
                if self.observer is not None:
                    self.observer(connection.conn_id, message)
                await self._handle(connection, message)
        except asyncio.CancelledError:
            pass  # a handler that raises a cancellation ends its connection, without an answer
        finally:
            self._connections.pop(connection.conn_id, None)
            await connection.close()
            await run_callback(self.on_disconnect, connection.conn_id)

    async def _handle(self, connection: _Connection, message: Message) -> None:
        if message.msg_type == "heartbeat":
            connection.last_heartbeat = time.monotonic()
            await connection.send(heartbeat_message())
        elif message.msg_type == "request":
            try:
                response = await self._respond(message)
            except Exception as error:
                # Habit: a type that is an array or object cannot be looked up; it is counted and never answered.
                log.info("no answer: %r", error)
                self._counts["errors"] += 1
                return
            self._counts["messages_sent"] += await connection.send(response)

    async def _respond(self, message: Message) -> Message:
        data = message.data if isinstance(message.data, dict) else {}
        handler = self._handlers.get(data.get("type"))
        if handler is None:
            return response_message(message.request_id, error="Unknown request type")
        try:
            # Habit: a plain function that returns a coroutine is not awaited; its text is sent.
            result = handler(data.get("data", {}))
            if inspect.iscoroutinefunction(handler):
                result = await result
        except Exception as error:
            # Habit: an exception without text gives an empty error, which clients take for success.
            return response_message(message.request_id, error=str(error))
        return response_message(message.request_id, result)

    async def _reap(self) -> None:
        """Cuts connections without a recent *heartbeat*; requests do not count. Habit: closing waits until the
        client has read what is left, under the lock that new connections and broadcasts need."""
        while True:
            await asyncio.sleep(self.look_interval)
            async with self._lock:
                for connection in list(self._connections.values()):
                    silent_for = time.monotonic() - connection.last_heartbeat
                    if not connection.alive or silent_for > self.heartbeat_timeout:
                        log.info("closing %s, silent for %.1f s", connection.conn_id, silent_for)
                        self._connections.pop(connection.conn_id, None)
                        await connection.close()
