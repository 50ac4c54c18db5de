"""The values of one streaming call, for its one consumer."""

from __future__ import annotations

import asyncio
from typing import Any

from .call import StreamCall
from .calls import Calls


class ResponseStream:
    """`async for value in stream`. Sent with the first value that is asked for. Leaving the loop, `aclose()`, a
    cancelled task, or letting go of the stream cancels the handler at the other end."""

    def __init__(self, calls: Calls, call: StreamCall) -> None:
        self._calls = calls
        self._call = call
        self._is_begun = False
        self._loop = asyncio.get_running_loop()

    def __aiter__(self) -> ResponseStream:
        return self

    async def __anext__(self) -> Any:
        if not self._is_begun:
            self._is_begun = True
            self._calls.begin(self._call)
        try:
            return await self._call.buffer.get()
        except asyncio.CancelledError:
            self._close()
            raise

    async def __aenter__(self) -> ResponseStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()

    async def aclose(self) -> None:
        """Idempotent."""
        self._close()

    def _close(self) -> None:
        if self._is_begun:
            self._calls.cancel(self._call)
        self._is_begun = True
        self._call.buffer.clear()
        self._call.buffer.end()

    def __del__(self) -> None:
        # `break` leaves a loop without a word; the last reference going is all that tells of it.
        if self._is_begun and not self._call.is_done and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._calls.cancel, self._call)
