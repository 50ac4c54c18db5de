"""The calls that one client has made: which run, which wait for their turn, and which its id means."""

from __future__ import annotations

from collections import deque
from typing import Any, Literal, Protocol

from .incoming import IncomingCall

Kinds = frozenset[Literal["request", "event"]]
REQUESTS: Kinds = frozenset({"request"})
ALL_KINDS: Kinds = frozenset({"request", "event"})


class CallQueueOwner(Protocol):
    @property
    def is_blocked(self) -> bool:
        """The client does not read its answers, so no call is begun."""

    def run(self, call: IncomingCall) -> None: ...

    def pause(self) -> None:
        """There is no room for more calls."""

    def resume(self) -> None: ...


class CallQueue:
    def __init__(self, owner: CallQueueOwner, max_concurrent: int, max_queued: int, max_queued_bytes: int) -> None:
        self._owner = owner
        self._max_concurrent = max_concurrent
        self._max_queued = max_queued
        self._max_queued_bytes = max_queued_bytes
        self._calls: set[IncomingCall] = set()
        self._by_id: dict[str, IncomingCall] = {}
        self._waiting: deque[IncomingCall] = deque()
        self._waiting_bytes = 0
        self._is_pumping = False

    @property
    def is_idle(self) -> bool:
        return not self._calls

    @property
    def pending(self) -> int:
        return len(self._calls)

    def add(self, call: IncomingCall) -> None:
        self._calls.add(call)
        if call.kind == "request" and type(call.id) is str:
            self._by_id[call.id] = call

    def submit(self, call: IncomingCall, may_refuse: bool) -> bool:
        """Runs it, now or in its turn. False if there is no room and it may be refused; a client that knows no
        refusal is not read from until there is room."""
        if not self._waiting and self._running <= self._max_concurrent and not self._owner.is_blocked:
            self._owner.run(call)
            return True
        is_full = len(self._waiting) >= self._max_queued or self._waiting_bytes + call.size > self._max_queued_bytes
        if is_full and may_refuse:
            return False
        self._waiting.append(call)
        self._waiting_bytes += call.size
        if is_full:
            self._owner.pause()
        return True

    def find(self, request_id: Any) -> IncomingCall | None:
        return self._by_id.get(request_id) if type(request_id) is str else None

    def on_settled(self, call: IncomingCall) -> None:
        if type(call.id) is str and self._by_id.get(call.id) is call:
            del self._by_id[call.id]

    def on_finished(self, call: IncomingCall) -> None:
        self._calls.discard(call)
        if self._waiting:
            self.pump()

    def pump(self) -> None:
        """Begins what waits, as far as there is room."""
        if self._is_pumping:
            return
        self._is_pumping = True
        try:
            while self._waiting and self._running < self._max_concurrent and not self._owner.is_blocked:
                call = self._waiting.popleft()
                self._waiting_bytes -= call.size
                if call.is_settled:
                    call.abandon()
                else:
                    self._owner.run(call)
        finally:
            self._is_pumping = False
        if len(self._waiting) <= self._max_queued // 2:
            self._owner.resume()

    def take_waiting(self, kinds: Kinds) -> list[IncomingCall]:
        """Those that will not be begun; the caller ends them."""
        taken = [call for call in self._waiting if call.kind in kinds]
        self._waiting = deque(call for call in self._waiting if call.kind not in kinds)
        self._waiting_bytes = sum(call.size for call in self._waiting)
        return taken

    def cancel(self, kinds: Kinds) -> int:
        """Returns how many calls that were."""
        waiting = self.take_waiting(kinds)
        begun = [call for call in self._calls.difference(waiting) if call.kind in kinds and not call.is_settled]
        for call in waiting:
            call.abandon()
        for call in begun:
            call.cancel()
        return len(waiting) + len(begun)

    @property
    def _running(self) -> int:
        return len(self._calls) - len(self._waiting)
