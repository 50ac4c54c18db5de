"""One call of a client, and what becomes of its values."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Any

from .buffer import BoundedBuffer
from .errors import StreamOverflowError, UnixSocketError
from .session import Session


class Call:
    """`limit` bounds the wait for the first value; the whole call if `is_deadline`. In seconds, 0 for never."""

    __slots__ = ("id", "type", "json", "meta", "limit", "is_deadline", "expires_at", "session", "repeats", "is_done")

    def __init__(
        self, request_type: str, json: str, limit: float, is_deadline: bool, meta: Mapping[str, str] | None
    ) -> None:
        self.id = ""
        self.type = request_type
        self.json = json
        self.meta = meta
        self.limit = limit
        self.is_deadline = is_deadline
        self.expires_at = 0.0
        self.session: Session | None = None
        self.repeats = 0
        self.is_done = False

    def on_value(self, value: Any, size: int) -> UnixSocketError | None:
        raise NotImplementedError

    def on_complete(self) -> None:
        raise NotImplementedError

    def on_failed(self, error: BaseException) -> None:
        raise NotImplementedError

    def deadline_ms(self) -> int | None:
        if not self.is_deadline or self.limit <= 0:
            return None
        return max(0, math.ceil((self.expires_at - asyncio.get_running_loop().time()) * 1000))


class UnaryCall(Call):
    """Of a stream it takes the last value."""

    __slots__ = ("future", "_value")

    def __init__(
        self, request_type: str, json: str, limit: float, is_deadline: bool, meta: Mapping[str, str] | None
    ) -> None:
        super().__init__(request_type, json, limit, is_deadline, meta)
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._value: Any = None

    def on_value(self, value: Any, size: int) -> None:
        self._value = value

    def on_complete(self) -> None:
        if not self.future.done():
            self.future.set_result(self._value)

    def on_failed(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class StreamCall(Call):
    __slots__ = ("buffer", "idle_limit", "_limits")

    def __init__(
        self,
        request_type: str,
        json: str,
        limit: float,
        is_deadline: bool,
        meta: Mapping[str, str] | None,
        idle_limit: float,
        max_values: int,
        max_bytes: int,
    ) -> None:
        super().__init__(request_type, json, limit, is_deadline, meta)
        self.idle_limit = idle_limit
        self.buffer: BoundedBuffer[Any] = BoundedBuffer(max_values, max_bytes)
        self._limits = f"{max_values} values or {max_bytes} bytes"

    def on_value(self, value: Any, size: int) -> UnixSocketError | None:
        self.buffer.put(value, size)
        return StreamOverflowError(self._limits) if self.buffer.is_over() else None

    def on_complete(self) -> None:
        self.buffer.end()

    def on_failed(self, error: BaseException) -> None:
        self.buffer.end(error)
