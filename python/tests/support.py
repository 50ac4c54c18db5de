"""What the tests share: fixtures, servers and peers made by hand, and a check that nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import tempfile
import unittest
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from nestjs_unix_socket import SocketClient, SocketServer  # noqa: E402

FIXTURES = Path(__file__).parent.parent.parent / "test" / "fixtures"
HEAVY = int(os.environ.get("UNIX_SOCKET_HEAVY", "1"))
"""Counts are multiplied by it."""


def rows(name: str, **where: str) -> list[dict[str, Any]]:
    with open(FIXTURES / name, encoding="utf-8") as file:
        all_rows = [json.loads(line) for line in file if line.strip()]
    return [row for row in all_rows if all(row.get(key) == value for key, value in where.items())]


def frame(message: dict[str, Any] | str) -> bytes:
    body = (message if isinstance(message, str) else json.dumps(message)).encode("utf-8", "surrogatepass")
    return len(body).to_bytes(4, "big") + body


def message(msg_type: str, request_id: Any = "", data: Any = None, **more: Any) -> dict[str, Any]:
    return {"msg_type": msg_type, "request_id": request_id, "data": data, "timestamp": "t", "error": None, **more}


class RawPeer:
    """The other end, made by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, path: str) -> RawPeer:
        return cls(*await asyncio.open_unix_connection(path))

    async def send(self, *messages: dict[str, Any] | str | bytes) -> None:
        self.writer.write(b"".join(one if isinstance(one, bytes) else frame(one) for one in messages))
        await self.writer.drain()

    async def next(self) -> dict[str, Any]:
        async def read() -> bytes:
            length = int.from_bytes(await self.reader.readexactly(4), "big")
            return await self.reader.readexactly(length)

        value: dict[str, Any] = json.loads(await asyncio.wait_for(read(), 5))
        return value

    async def until_closed(self) -> list[dict[str, Any]]:
        received = []
        while True:
            try:
                received.append(await self.next())
            except (asyncio.IncompleteReadError, ConnectionError):
                return received

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass


class Case(unittest.IsolatedAsyncioTestCase):
    """A temporary folder, and a look at what is left when a test is over."""

    async def asyncSetUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = f"{folder.name}/s.sock"
        self._descriptors = descriptors()
        self.addAsyncCleanup(self._check_nothing_left)

    async def _check_nothing_left(self) -> None:
        gc.collect()
        # The loop closes transports in a turn of its own.
        for _ in range(200):
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if not others and descriptors() <= self._descriptors:
                return
            await asyncio.sleep(0.01)
        self.assertEqual(others, set(), "tasks left behind")
        self.assertLessEqual(descriptors(), self._descriptors, "sockets left behind")

    async def serve(self, handlers: dict[str, Callable[..., Any]] | None = None, **options: Any) -> SocketServer:
        server = SocketServer(options.pop("path", self.path), "acc1", **{"drain_timeout": 1.0, **options})
        for name, handler in (handlers or {}).items():
            server.register_handler(name, handler)
        await server.listen()
        self.addAsyncCleanup(server.stop)
        return server

    async def client(self, path: str | None = None, **options: Any) -> SocketClient:
        client = SocketClient(path or self.path, **{"reconnect_interval": 0.02, **options})
        self.addAsyncCleanup(client.disconnect)
        await client.connect(0.02, 100)
        return client

    async def raw(self) -> RawPeer:
        peer = await RawPeer.connect(self.path)
        self.addAsyncCleanup(peer.close)
        return peer

    async def raw_server(self, on_peer: Callable[[RawPeer], Awaitable[None]]) -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = RawPeer(reader, writer)
            try:
                await on_peer(peer)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                await peer.close()

        listener = await asyncio.start_unix_server(accept, self.path)

        async def close() -> None:
            listener.close()
            await asyncio.sleep(0)

        self.addAsyncCleanup(close)

    async def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(1000):
            if condition():
                return
            await asyncio.sleep(0.005)
        self.fail("it did not come to it")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
