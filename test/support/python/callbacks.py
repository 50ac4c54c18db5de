"""What both stand-ins share: running the callbacks that an application gave them."""

from __future__ import annotations

import inspect
import logging
from typing import Any, Callable

log = logging.getLogger("reference_peer")


async def run_callback(callback: Callable[..., Any] | None, *args: Any) -> None:
    """Runs a user's callback, sync or async. Its failure is logged and ends nothing."""
    if callback is None:
        return
    try:
        result = callback(*args)
        if inspect.isawaitable(result):
            await result
    except Exception:
        log.exception("a callback failed")
