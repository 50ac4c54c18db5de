"""The calls that one client makes: which are taken, refused, or keep it from being read."""

from __future__ import annotations

import asyncio
from typing import Any, Literal, Protocol

from .call_queue import ALL_KINDS, REQUESTS, CallQueue
from .connection import Connection
from .context import ClientConnection
from .incoming import Caller, IncomingCall
from .peer_options import PeerOptions

SHUTTING_DOWN = "The server is shutting down; the call was not started."
LONGEST_DEADLINE_MS = 10**9


class AdmittedCaller(Caller, Protocol):
    connection: ClientConnection

    def on_overload(self) -> None:
        """A call found no room and was refused."""


class CallRunner(Protocol):
    def run(self, call: IncomingCall, connection: ClientConnection) -> None:
        """Starts the handler."""


class AdmittedCalls:
    def __init__(self, caller: AdmittedCaller, socket: Connection, options: PeerOptions, runner: CallRunner) -> None:
        self.queue = CallQueue(self, options.max_concurrent, options.max_queued, options.max_queued_bytes)
        self.is_draining = False
        """Whether no more requests are taken."""
        self._caller = caller
        self._socket = socket
        self._runner = runner

    def receive(self, kind: Literal["request", "event"], body: dict[str, Any], size: int) -> None:
        data = body["data"]
        if type(data) is dict:
            request_type = data.get("type")
            payload = data.get("data", {})
        else:
            request_type, payload = None, {}
        meta = body.get("meta")
        if meta is not None and not (type(meta) is dict and all(type(text) is str for text in meta.values())):
            meta = None
        call = IncomingCall(self._caller, kind, body["request_id"], request_type, payload, meta, size)
        self.queue.add(call)
        if kind == "request":
            if self.is_draining:
                call.refuse("DRAINING", SHUTTING_DOWN)
                return
            deadline_ms = body.get("deadline_ms")
            if type(deadline_ms) is int and 0 <= deadline_ms < LONGEST_DEADLINE_MS:
                if deadline_ms == 0:
                    call.refuse("DEADLINE_EXCEEDED", "The caller's deadline had passed; the call was not started.")
                    return
                call.deadline = asyncio.get_running_loop().call_later(deadline_ms / 1000, call.cancel)
        if not self.queue.submit(call, may_refuse=self._caller.is_upgraded):
            call.refuse("OVERLOADED", "The server has no room for more calls of this connection; it was not started.")
            self._caller.on_overload()

    def cancel(self, request_id: Any) -> None:
        call = self.queue.find(request_id)
        if call is not None:
            # One that waits is thrown away when its turn comes.
            call.cancel()

    def cancel_all(self) -> int:
        """Returns how many calls that were."""
        return self.queue.cancel(ALL_KINDS)

    def drain(self) -> None:
        """An upgraded client sends elsewhere what has not begun. Events could not go elsewhere."""
        self.is_draining = True
        if self._caller.is_upgraded:
            for call in self.queue.take_waiting(REQUESTS):
                call.refuse("DRAINING", SHUTTING_DOWN)

    def on_closed(self) -> None:
        # Nobody ever waited for the events.
        self.queue.cancel(REQUESTS)

    # --- called by the queue

    @property
    def is_blocked(self) -> bool:
        return self._socket.is_blocked

    def run(self, call: IncomingCall) -> None:
        self._runner.run(call, self._caller.connection)

    def pause(self) -> None:
        self._socket.pause()

    def resume(self) -> None:
        self._socket.resume()
