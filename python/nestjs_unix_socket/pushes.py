"""What a client does with the pushes it gets."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from .buffer import BoundedBuffer

PushHandler = Callable[[str, Any], Any]
log = logging.getLogger("nestjs_unix_socket")


class PushSubscription:
    """Pushes as `(type, data)`, in their order. The oldest that wait are dropped beyond the bound and counted."""

    def __init__(self, owner: PushDispatcher, push_type: str | None, max_values: int, max_bytes: int) -> None:
        self._owner = owner
        self._buffer: BoundedBuffer[tuple[str, Any]] = BoundedBuffer(max_values, max_bytes)
        self.push_type = push_type
        self.dropped = 0

    def __aiter__(self) -> PushSubscription:
        return self

    async def __anext__(self) -> tuple[str, Any]:
        return await self._buffer.get()

    async def __aenter__(self) -> PushSubscription:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """What waits can still be taken; then the iteration ends."""
        self._owner.unsubscribe(self)
        self._buffer.end()

    def offer(self, push_type: str, data: Any, size: int) -> None:
        self._buffer.put((push_type, data), size)
        while self._buffer.is_over():
            self._buffer.drop_oldest()
            self.dropped += 1


class PushDispatcher:
    """Runs handlers one push after another, outside the reading: a slow handler delays pushes, never answers."""

    def __init__(self, fallback: PushHandler | None, max_queued: int) -> None:
        self.fallback = fallback
        self.dropped = 0
        self._max_queued = max_queued
        self._handlers: dict[str, PushHandler] = {}
        self._subscriptions: list[PushSubscription] = []
        self._queue: deque[tuple[PushHandler, str, Any]] = deque()
        self._task: asyncio.Task[None] | None = None

    def set_handler(self, push_type: str, handler: PushHandler) -> None:
        self._handlers[push_type] = handler

    def subscribe(self, push_type: str | None, max_values: int, max_bytes: int) -> PushSubscription:
        subscription = PushSubscription(self, push_type, max_values, max_bytes)
        self._subscriptions.append(subscription)
        return subscription

    def unsubscribe(self, subscription: PushSubscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def on_push(self, push_type: Any, data: Any, size: int) -> None:
        name = push_type if isinstance(push_type, str) else str(push_type)
        for subscription in self._subscriptions:
            if subscription.push_type is None or subscription.push_type == name:
                subscription.offer(name, data, size)
        handler = self._handlers.get(name, self.fallback)
        if handler is None:
            return
        self._queue.append((handler, name, data))
        if len(self._queue) > self._max_queued:
            self._queue.popleft()
            self.dropped += 1
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        self._queue.clear()
        task = self._task
        # A handler may be what disconnects; it is not to wait for itself.
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def end_subscriptions(self) -> None:
        for subscription in list(self._subscriptions):
            subscription.close()

    async def _run(self) -> None:
        try:
            while self._queue:
                handler, push_type, data = self._queue.popleft()
                await run_callback(handler, push_type, data)
        finally:
            self._task = None


async def run_callback(callback: Callable[..., Any] | None, *args: Any) -> None:
    """Runs a callback of the application, sync or async. Its failure is logged and ends nothing."""
    if callback is None:
        return
    try:
        result = callback(*args)
        if inspect.isawaitable(result):
            await result
    except Exception:
        log.exception("a callback failed")
