"""Time limits of many calls with few timers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Deadlines(Generic[Item]):
    """Items with the same limit expire in the order of their adding, so each limit needs one timer and no sorting."""

    def __init__(self, on_expired: Callable[[Item], None]) -> None:
        self._on_expired = on_expired
        self._lanes: dict[float, dict[Item, float]] = {}
        self._timers: dict[float, asyncio.TimerHandle] = {}

    def add(self, item: Item, limit: float) -> None:
        """0 is no limit."""
        if limit <= 0:
            return
        lane = self._lanes.get(limit)
        if lane is None:
            lane = self._lanes[limit] = {}
        loop = asyncio.get_running_loop()
        lane[item] = loop.time() + limit
        if limit not in self._timers:
            self._timers[limit] = loop.call_later(limit, self._expire, limit)

    def remove(self, item: Item, limit: float) -> None:
        lane = self._lanes.get(limit)
        if lane is not None:
            lane.pop(item, None)

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._lanes.clear()

    def _expire(self, limit: float) -> None:
        del self._timers[limit]
        lane = self._lanes[limit]
        loop = asyncio.get_running_loop()
        now = loop.time()
        expired: list[Item] = []
        for item, expires_at in lane.items():
            if expires_at > now:
                self._timers[limit] = loop.call_at(expires_at, self._expire, limit)
                break
            expired.append(item)
        for item in expired:
            lane.pop(item, None)
        if not lane:
            del self._lanes[limit]
        for item in expired:
            self._on_expired(item)
