"""Values that wait to be taken by one consumer, bounded in number and bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

Value = TypeVar("Value")


class BoundedBuffer(Generic[Value]):
    def __init__(self, max_values: int, max_bytes: int) -> None:
        self._max_values = max_values
        self._max_bytes = max_bytes
        self._values: deque[tuple[Value, int]] = deque()
        self._bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._is_ended = False
        self._error: BaseException | None = None

    @property
    def is_ended(self) -> bool:
        return self._is_ended

    def put(self, value: Value, size: int) -> None:
        self._values.append((value, size))
        self._bytes += size
        self._wake()

    def is_over(self) -> bool:
        """One value always has room, whatever its size."""
        count = len(self._values)
        return count > self._max_values or (count > 1 and self._bytes > self._max_bytes)

    def drop_oldest(self) -> None:
        _, size = self._values.popleft()
        self._bytes -= size

    def clear(self) -> None:
        self._values.clear()
        self._bytes = 0

    def end(self, error: BaseException | None = None) -> None:
        """What waits can still be taken; behind it comes the error or the end."""
        if not self._is_ended:
            self._is_ended = True
            self._error = error
            self._wake()

    async def get(self) -> Value:
        """Raises StopAsyncIteration behind the last value."""
        while not self._values:
            if self._is_ended:
                error, self._error = self._error, None
                raise error if error is not None else StopAsyncIteration
            if self._waiter is not None:
                raise RuntimeError("somebody else waits for the next value already")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        value, size = self._values.popleft()
        self._bytes -= size
        return value

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
