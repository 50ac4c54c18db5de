"""One request or event on its way through the server."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from types import CoroutineType
from typing import Any, Literal, Protocol

from .codec import encode_json
from .errors import UnixSocketError


class Caller(Protocol):
    """What a call needs of the client it came from."""

    @property
    def is_upgraded(self) -> bool: ...

    def send_response(self, request_id: Any, json: str, extras: str) -> None:
        """Raises FrameTooLargeError."""

    def send_failure(self, request_id: Any, text: str, detail: dict[str, Any]) -> None: ...

    async def writable(self) -> None:
        """Returns once the client has taken most of what was sent. Raises if it does not come to it."""

    def on_settled(self, call: IncomingCall) -> None:
        """Nobody waits for an answer any more."""

    def on_finished(self, call: IncomingCall) -> None:
        """The handler has ended, perhaps some time after the call was settled."""


class IncomingCall:
    """Lets one answer out and ends once. An answer after the end is ignored."""

    __slots__ = (
        "_caller", "kind", "id", "type", "data", "meta", "size", "is_settled", "_is_finished", "_task", "deadline",
    )  # fmt: skip

    def __init__(
        self,
        caller: Caller,
        kind: Literal["request", "event"],
        request_id: Any,
        request_type: Any,
        data: Any,
        meta: Mapping[str, str] | None,
        size: int,
    ) -> None:
        self._caller = caller
        self.kind = kind
        self.id = request_id
        self.type = request_type
        self.data = data
        self.meta = meta
        self.size = size
        self.is_settled = False
        self._is_finished = False
        self._task: asyncio.Future[Any] | None = None
        self.deadline: asyncio.TimerHandle | None = None

    def take(self, result: Any) -> None:
        """What the handler returned: a value, something to await, or a stream of values."""
        if type(result) is CoroutineType:
            self._task = asyncio.get_running_loop().create_task(result)
            self._task.add_done_callback(self._on_done)
        elif hasattr(result, "__aiter__") or inspect.isgenerator(result):
            self._task = asyncio.get_running_loop().create_task(self._send_stream(result))
            self._task.add_done_callback(self._on_streamed)
        elif inspect.isawaitable(result):
            self._task = asyncio.ensure_future(result)
            self._task.add_done_callback(self._on_done)
        else:
            self.respond(result)
            self._finish()

    def respond(self, value: Any) -> None:
        if not self.is_settled:
            self._send(value, "")
            self._settle()

    def fail(self, error: BaseException) -> None:
        if self.is_settled:
            return
        detail: dict[str, Any] = {"message": str(error) or type(error).__name__}
        code = getattr(error, "code", None)
        if isinstance(code, str):
            detail["code"] = code
        details = getattr(error, "details", None)
        if details is not None:
            detail["details"] = details
        self._fail(detail["message"], detail)

    def fail_unknown(self, text: str) -> None:
        """Nothing handles its type."""
        if not self.is_settled:
            self._fail(text, {"code": "UNKNOWN_PATTERN", "message": text})
        self._finish()

    def refuse(self, code: str, text: str) -> None:
        """Not started, so repeating it is safe."""
        if not self.is_settled:
            self._fail(text, {"code": code, "message": text, "refused": True})
        self._finish()

    def cancel(self) -> None:
        """Nobody waits any more: the handler is cancelled and nothing is sent."""
        self._settle()
        if self._task is not None:
            self._task.cancel()

    def abandon(self) -> None:
        """It had not been started, and will not be."""
        self._settle()
        self._finish()

    def finish(self, error: BaseException) -> None:
        """The handler raised before it returned anything."""
        self.fail(error)
        self._finish()

    async def _send_stream(self, values: Any) -> None:
        last: Any = None
        try:
            if hasattr(values, "__aiter__"):
                async for value in values:
                    last = value
                    await self._send_one(value)
            else:
                for value in values:
                    last = value
                    await self._send_one(value)
                    await asyncio.sleep(0)
        finally:
            # A stream that is cut off runs its `finally` now, not when it is collected.
            if hasattr(values, "aclose"):
                await values.aclose()
            elif hasattr(values, "close"):
                values.close()
        if self.is_settled:
            return
        if self._caller.is_upgraded:
            self._send(None, ',"end":true')
        else:
            self._send(last, "")
        self._settle()

    async def _send_one(self, value: Any) -> None:
        # A plain client gets the last value only.
        if self.is_settled or not self._caller.is_upgraded:
            return
        self._send(value, ',"more":true')
        await self._caller.writable()

    def _on_done(self, task: asyncio.Future[Any]) -> None:
        if task.cancelled():
            self.fail(asyncio.CancelledError("The handler was cancelled."))
        else:
            error = task.exception()
            if error is not None:
                self.fail(error)
            else:
                result = task.result()
                if hasattr(result, "__aiter__") and not self.is_settled:
                    self.take(result)
                    return
                self.respond(result)
        self._finish()

    def _on_streamed(self, task: asyncio.Future[Any]) -> None:
        if task.cancelled():
            self.fail(asyncio.CancelledError("The handler was cancelled."))
        else:
            error = task.exception()
            if error is not None:
                self.fail(error)
        self._finish()

    def _send(self, value: Any, extras: str) -> None:
        if self.kind == "event":
            return
        try:
            self._caller.send_response(self.id, encode_json(value), extras)
        except UnixSocketError as error:
            # What cannot be sent becomes an error; the connection lives.
            self._fail(error.message, {"code": error.code, "message": error.message})
            if self._task is not None:
                self._task.cancel()

    def _fail(self, text: str, detail: dict[str, Any]) -> None:
        if self.kind == "request":
            self._caller.send_failure(self.id, text, detail)
        self._settle()

    def _settle(self) -> None:
        if not self.is_settled:
            self.is_settled = True
            if self.deadline is not None:
                self.deadline.cancel()
            self._caller.on_settled(self)

    def _finish(self) -> None:
        self._task = None
        if not self._is_finished:
            self._is_finished = True
            self._caller.on_finished(self)
