"""The commands of `driver.py server`, and the request types that it serves."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from contextlib import suppress
from typing import Any, Callable

from driver_client import chosen_value
from reference_peer import SocketServer, request
from values import FALSY_VALUES, NAMED_VALUES
from wire import Message

Emit = Callable[[dict[str, Any]], None]


class Handlers:
    """Every method here is a request type, served under the name given to its decorator."""

    def __init__(self, push: Callable[[str, Any], Any]) -> None:
        self._push = push
        self._calls = 0

    @request("echo")
    async def echo(self, data: Any) -> Any:
        return data

    @request("add")
    async def add(self, data: Any) -> Any:
        return data["a"] + data["b"]

    @request("fail")
    async def fail(self, data: Any) -> Any:
        """With the text `data` or `data["message"]`; an empty one gives the empty error of the original."""
        raise ValueError(data.get("message", "failed") if isinstance(data, dict) else data)

    @request("fail_key")
    async def fail_key(self, _data: Any) -> Any:
        return {}["k"]

    @request("sleep")
    async def sleep(self, data: Any) -> Any:
        await asyncio.sleep(data["ms"] / 1000)
        return {"slept_ms": data["ms"]}

    @request("count")
    async def count(self, _data: Any) -> Any:
        """How often it was called, this call included."""
        self._calls += 1
        return self._calls

    @request("falsy")
    async def falsy(self, data: Any) -> Any:
        return FALSY_VALUES[data["of"]]

    @request("none")
    async def none(self, _data: Any) -> None:
        """Completes without a value."""

    @request("named")
    async def named(self, data: Any) -> Any:
        return NAMED_VALUES[data["of"]]

    @request("bytes_len")
    async def bytes_len(self, data: Any) -> Any:
        if not isinstance(data, bytes):
            raise ValueError(f"not bytes but {type(data).__name__}")
        return {"length": len(data), "hex": data.hex()}

    @request("push_me")
    async def push_me(self, data: Any) -> Any:
        """Pushes `data["n"]` ticks while the request is handled, so before its response."""
        for n in range(data["n"]):
            await self._push("tick", {"n": n})
        return {"pushed": data["n"]}


class ServerCommands:
    def __init__(self, endpoint: str, options: dict[str, Any], emit: Emit) -> None:
        self._exiting = asyncio.Event()
        self._emit = emit
        self._received: deque[dict[str, Any]] = deque(maxlen=1000)
        self._frame_counts: Counter[str] = Counter()
        self._serving: asyncio.Task[None] | None = None
        self._server = SocketServer(
            endpoint,
            **{"account_id": "python", **options},
            observer=self._on_frame,
            on_connect=lambda conn_id: emit({"event": "connect", "conn_id": conn_id}),
            on_disconnect=lambda conn_id: emit({"event": "disconnect", "conn_id": conn_id}),
        )
        self._server.register_handlers_from_instance(Handlers(self._server.send_push))

    async def start(self) -> Any:
        if self._serving is not None and not self._serving.done():
            raise RuntimeError("started already")
        self._serving = asyncio.create_task(self._server.start())
        while self._server.address is None:
            if self._serving.done():
                self._serving.result()  # raises what went wrong
            await asyncio.sleep(0.001)
        return {"address": self._server.address}

    async def stop(self, waits: bool | None = None) -> Any:
        """`waits` chooses for once whether to wait until every client has left by itself."""
        if waits is not None:
            self._server.stop_waits = waits
        await self._server.stop()
        if self._serving is not None:
            with suppress(asyncio.CancelledError):
                await self._serving

    async def push(
        self, type: Any, data: Any = None, named: str | None = None, fill: int | None = None, times: int = 1
    ) -> Any:
        """To every connection; `sent` says of how many times the original API returned true."""
        value = chosen_value(data, named, fill)
        return {"sent": sum([await self._server.send_push(type, value) for _ in range(times)])}

    async def heartbeat(self) -> Any:
        return {"sent": await self._server.send_heartbeat()}

    async def send_raw(self, hex: str) -> Any:
        """Bytes as they are, to every connection."""
        await self._server.send_bytes(bytes.fromhex(hex))
        return {"connections": self._server.get_connection_count()}

    async def drop(self) -> Any:
        """Cuts every connection, as a crash would, and goes on listening."""
        return {"dropped": self._server.drop_connections()}

    async def received(self, msg_type: str | None = "request", clear: bool = False) -> Any:
        """The latest thousand frames received of one `msg_type`, or of all with null."""
        received = [frame for frame in self._received if msg_type in (None, frame["msg_type"])]
        if clear:
            self._received.clear()
        return received

    async def stats(self) -> Any:
        """`api` is the original's `get_stats()`, `frames` the driver's own count of frames received."""
        return {"api": self._server.get_stats(), "frames": dict(self._frame_counts)}

    async def exit(self) -> Any:
        self._exiting.set()

    async def _close(self) -> None:
        await self.stop(waits=False)

    def _on_frame(self, conn_id: str, message: Message) -> None:
        is_call = message.msg_type in ("request", "push") and isinstance(message.data, dict)
        call = message.data if is_call else {"type": None, "data": message.data}
        self._frame_counts[message.msg_type] += 1
        self._received.append(
            {
                "conn_id": conn_id,
                "msg_type": message.msg_type,
                "request_id": message.request_id,
                "type": call.get("type"),
                "data": call.get("data"),
                "extra": message.extra,
            }
        )
        self._emit({"event": message.msg_type, "conn_id": conn_id, "type": call.get("type")})
