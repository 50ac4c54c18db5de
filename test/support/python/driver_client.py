"""The commands of `driver.py client`. Times of the peer's own interface are seconds, `…_ms` are milliseconds."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from contextlib import suppress
from typing import Any, Callable

from reference_peer import SocketClient
from values import NAMED_VALUES
from wire import Message, decode, dial, encode, read_message, request_message

Emit = Callable[[dict[str, Any]], None]


def shown(message: Message) -> dict[str, Any]:
    return {**message.as_dict(), "extra": message.extra}


def chosen_value(data: Any, named: str | None, fill: int | None) -> Any:
    """The data of a command: as given, one of `NAMED_VALUES`, or a text of `fill` characters."""
    if named is not None:
        return NAMED_VALUES[named]
    return data if fill is None else {"text": "x" * fill}


class ClientCommands:
    def __init__(self, endpoint: str, options: dict[str, Any], emit: Emit) -> None:
        self._exiting = asyncio.Event()
        self._endpoint = endpoint
        self._emit = emit
        self._connects = self._disconnects = 0
        self._pushes: list[dict[str, Any]] = []
        self._frames: deque[Message] = deque(maxlen=1000)
        self._frame_counts: Counter[str] = Counter()
        self._heartbeat_seen = asyncio.Event()
        self._client = SocketClient(
            endpoint,
            **{"account_id": "python", **options},
            on_data_callback=self._on_push,
            observer=self._on_frame,
        )
        self._client.set_connect_callback(self._on_connect)
        self._client.set_disconnect_callback(self._on_disconnect)

    async def connect(self, retry_interval: float = 0.05, max_retries: int = 100) -> Any:
        return {"connected": await self._client.connect(retry_interval, max_retries)}

    async def request(
        self,
        type: Any,
        data: Any = None,
        named: str | None = None,
        fill: int | None = None,
        timeout: float | None = None,
        brief: bool = False,
    ) -> Any:
        """`result` is what the original API returns, `same` says whether the response's data equals what was
        sent; `brief` leaves the data out of the answer."""
        return await self._ask(type, chosen_value(data, named, fill), timeout, brief)

    async def request_many(
        self,
        type: Any,
        n: int | None = None,
        items: list[Any] | None = None,
        timeout: float | None = None,
        brief: bool = False,
    ) -> Any:
        """All at once, with the data `{"i": 0}`, `{"i": 1}` and so on, or the given items."""
        started = time.monotonic()
        all_data = items if items is not None else [{"i": i} for i in range(n or 0)]
        order: list[int] = []

        async def ask(index: int, data: Any) -> dict[str, Any]:
            answer = await self._ask(type, data, timeout, brief)
            order.append(index)
            return answer

        answers = await asyncio.gather(*(ask(index, data) for index, data in enumerate(all_data)))
        return {
            "answers": [] if brief else answers,
            "order": order,
            "same": sum(answer["same"] for answer in answers),
            "failures": sum(answer["failure"] is not None for answer in answers),
            "errors": sum(bool(answer["response"] and answer["response"]["error"]) for answer in answers),
            "elapsed_ms": (time.monotonic() - started) * 1000,
        }

    async def pushes(self, clear: bool = False) -> Any:
        pushes = self._pushes
        if clear:
            self._pushes = []
        return pushes

    async def frames(self, msg_type: str | None = None) -> Any:
        """The latest thousand frames received, the greetings too."""
        return [shown(message) for message in self._frames if msg_type in (None, message.msg_type)]

    async def heartbeat(self, wait_ms: float = 0) -> Any:
        """Sends one; with `wait_ms` waits so long for the next heartbeat of the server."""
        self._heartbeat_seen.clear()
        started = time.monotonic()
        sent = await self._client.send_heartbeat()
        answered_after = None
        if sent and wait_ms > 0:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._heartbeat_seen.wait(), wait_ms / 1000)
                answered_after = (time.monotonic() - started) * 1000
        return {"sent": sent, "answered_after_ms": answered_after}

    async def send_raw(self, hex: str, wait_ms: float = 0, fresh: bool = False) -> Any:
        """Bytes as they are, on the client's connection or on a fresh one of its own; then what came back
        within `wait_ms` (greeting excluded) and whether the connection ended."""
        if fresh:
            return await self._send_raw_fresh(bytes.fromhex(hex), wait_ms / 1000)
        seen_before = sum(self._frame_counts.values())
        await self._client.send_bytes(bytes.fromhex(hex))
        until = time.monotonic() + wait_ms / 1000
        while time.monotonic() < until and self._client.is_connected():
            await asyncio.sleep(0.005)
        seen = sum(self._frame_counts.values()) - seen_before
        frames = [shown(message) for message in list(self._frames)[-seen:]] if seen else []
        return {"frames": frames, "closed": not self._client.is_connected()}

    async def half_close(
        self, type: Any, data: Any = None, named: str | None = None, fill: int | None = None, timeout: float = 5.0
    ) -> Any:
        """On a fresh connection: a request, the end of the sending side, and then what the server does."""
        reader, writer = await dial(self._endpoint)
        try:
            greeting = await asyncio.wait_for(read_message(reader), timeout)
            writer.write(encode(request_message(type, chosen_value(data, named, fill))))
            writer.write_eof()
            frames, closed = await self._read_until_end(reader, timeout)
            responses = [message for message in frames if message.msg_type == "response"]
            return {
                "greeting": greeting and shown(greeting),
                "response": shown(responses[0]) if responses else None,
                "closed": closed,
            }
        finally:
            writer.close()

    async def health_check(self) -> Any:
        return await self._client.health_check()

    async def start_auto_reconnect(self) -> Any:
        self._client.start_auto_reconnect()

    async def stop_auto_reconnect(self) -> Any:
        self._client.stop_auto_reconnect()

    async def stats(self) -> Any:
        """`api` is the original's `get_stats()`, the rest the driver's own counts."""
        return {
            "api": self._client.get_stats(),
            "connected": self._client.is_connected(),
            "connects": self._connects,
            "disconnects": self._disconnects,
            "frames": dict(self._frame_counts),
            "pushes": len(self._pushes),
        }

    async def disconnect(self, keep_reconnecting: bool = False) -> Any:
        if not keep_reconnecting:
            self._client.stop_auto_reconnect()
        await self._client.disconnect()
        return {"connected": self._client.is_connected()}

    async def exit(self) -> Any:
        self._exiting.set()

    async def _close(self) -> None:
        await self.disconnect()

    async def _ask(self, request_type: Any, data: Any, timeout: float | None, brief: bool) -> dict[str, Any]:
        started = time.monotonic()
        response: Message | None = None
        failure: str | None = None
        try:
            response = await self._client.exchange(request_type, data, timeout)
        except asyncio.TimeoutError:
            failure = "timeout"
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
        answer = {
            "result": None if response is None else self._client.result_of(response),
            "response": response and shown(response),
            "failure": failure,
            "same": response is not None and not response.error and response.data == data,
            "elapsed_ms": (time.monotonic() - started) * 1000,
        }
        if brief:
            del answer["result"]
            if answer["response"]:
                del answer["response"]["data"]
        return answer

    async def _send_raw_fresh(self, data: bytes, wait: float) -> Any:
        reader, writer = await dial(self._endpoint)
        try:
            await asyncio.wait_for(read_message(reader), 5)  # the greeting
            writer.write(data)
            frames, closed = await self._read_until_end(reader, wait)
            return {"frames": [shown(message) for message in frames], "closed": closed}
        finally:
            writer.close()

    @staticmethod
    async def _read_until_end(reader: asyncio.StreamReader, wait: float) -> tuple[list[Message], bool]:
        frames: list[Message] = []

        async def read_all() -> None:
            while True:
                length = int.from_bytes(await reader.readexactly(4), "big")
                frames.append(decode(await reader.readexactly(length)))

        try:
            await asyncio.wait_for(read_all(), wait)
        except asyncio.TimeoutError:
            return frames, False
        except (asyncio.IncompleteReadError, OSError):
            pass  # the end of the connection, which is the only other way out
        return frames, True

    def _on_frame(self, message: Message) -> None:
        self._frames.append(message)
        self._frame_counts[message.msg_type] += 1
        if message.msg_type == "heartbeat":
            self._heartbeat_seen.set()
            self._emit({"event": "heartbeat"})

    def _on_push(self, push_type: Any, data: Any) -> None:
        self._pushes.append({"type": push_type, "data": data})
        self._emit({"event": "push", "type": push_type, "data": data})

    def _on_connect(self) -> None:
        self._connects += 1
        self._emit({"event": "connect"})

    def _on_disconnect(self) -> None:
        self._disconnects += 1
        self._emit({"event": "disconnect"})
