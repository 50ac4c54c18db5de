"""A health verdict that is not asked for more often than makes sense."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any


class HealthChecker:
    """`check(func)` awaits `func()` for at most `timeout` seconds, and repeats its verdict within `interval`. A check
    that raises, takes too long or returns False is unhealthy."""

    def __init__(self, interval: float = 5.0, timeout: float = 3.0) -> None:
        self.interval = interval
        self.timeout = timeout
        self._healthy = True
        self._checked_at = float("-inf")

    async def check(self, func: Callable[[], Awaitable[Any]]) -> bool:
        if time.monotonic() - self._checked_at >= self.interval:
            try:
                self._healthy = await asyncio.wait_for(func(), self.timeout) is not False
            except Exception:
                self._healthy = False
            self._checked_at = time.monotonic()
        return self._healthy

    def is_healthy(self) -> bool:
        return self._healthy
