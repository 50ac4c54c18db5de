"""The calls of a client on their way: sent, waiting for a connection, answered, lost or out of time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any, Protocol

from .call import Call, StreamCall
from .deadlines import Deadlines
from .envelope import UNKNOWN_REQUEST_TYPE
from .errors import (
    ClientClosedError,
    ConnectionLostError,
    Delivery,
    OfflineQueueFullError,
    RefusedError,
    RemoteError,
    RequestTimeoutError,
    SendQueueFullError,
    UnixSocketError,
)
from .session import Session

_REFUSALS = frozenset({"OVERLOADED", "DRAINING", "DEADLINE_EXCEEDED"})
MAX_REPEATS = 10
"""How often a call is sent again that a server going away had refused."""


class CallRoute(Protocol):
    """What calls need of the link they go over."""

    @property
    def label(self) -> str: ...

    @property
    def ready_session(self) -> Session | None: ...

    @property
    def last_error(self) -> BaseException | None: ...

    def refusal(self) -> UnixSocketError | None:
        """Why no connection is to be waited for; None if one is being made."""

    def retire(self, session: Session) -> None:
        """The server of this connection is going away."""

    def on_idle(self) -> None:
        """A call has ended."""


class Calls:
    def __init__(self, route: CallRoute, max_send_queue_bytes: int, max_offline_calls: int) -> None:
        self._route = route
        self._max_send_queue_bytes = max_send_queue_bytes
        self._max_offline_calls = max_offline_calls
        # Random once, so that ids of two clients or of a restarted one never collide.
        self._prefix = os.urandom(6).hex()
        self._count = 0
        self._sent: dict[str, Call] = {}
        self._waiting: dict[str, Call] = {}
        self._deadlines: Deadlines[Call] = Deadlines(self._on_expired)
        self.timeouts = 0

    @property
    def pending(self) -> int:
        return len(self._sent) + len(self._waiting)

    def begin(self, call: Call) -> None:
        """The call ends by itself from here on. Raises what keeps it from being sent."""
        self._count += 1
        call.id = f"{self._prefix}-{self._count}"
        if call.limit > 0:
            call.expires_at = asyncio.get_running_loop().time() + call.limit
        self._dispatch(call)
        if not call.is_done:
            self._deadlines.add(call, call.limit)

    def cancel(self, call: Call) -> None:
        """The caller has gone: an upgraded server stops working for it."""
        if not call.is_done:
            self._tell_cancelled(call)
            self._release(call)

    def send_waiting(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for call in waiting.values():
            if call.is_done:
                continue
            try:
                self._dispatch(call)
            except UnixSocketError as error:
                self._fail(call, error)

    def on_response(self, session: Session, body: dict[str, Any], size: int) -> None:
        call = self._sent.get(body["request_id"])
        # Late, second and unknown answers are ignored.
        if call is None or call.session is not session:
            return
        if body.get("error"):
            self._on_failure(session, call, body)
            return
        if body.get("more") is True and session.is_upgraded:
            overflow = call.on_value(body["data"], size)
            if overflow is not None:
                self._tell_cancelled(call)
                self._fail(call, overflow)
            elif not call.is_deadline:
                self._deadlines.remove(call, call.limit)
                call.limit = call.idle_limit if isinstance(call, StreamCall) else 0
                self._deadlines.add(call, call.limit)
            return
        if not (body.get("end") is True and session.is_upgraded):
            call.on_value(body["data"], size)
        self._release(call)
        call.on_complete()

    def on_lost(self, session: Session, cause: UnixSocketError) -> None:
        for call in [call for call in self._sent.values() if call.session is session]:
            self._fail(call, ConnectionLostError(self._route.label, "sentNoReply", cause))

    def fail_waiting(self, error: UnixSocketError) -> None:
        for call in list(self._waiting.values()):
            self._fail(call, error)

    def emit(self, event_type: str, json: str, meta: Mapping[str, str] | None) -> bool:
        """False if only a request can carry the event: a plain server ignores pushes, and while there is no
        connection nobody knows what the next server is."""
        session = self._route.ready_session
        if session is None or not session.is_upgraded:
            return False
        self._check_queue(session)
        self._count += 1
        session.send_push(f"{self._prefix}-{self._count}", event_type, json, meta)
        return True

    def close(self) -> None:
        """Fails what is pending: nobody answers any more."""
        for call in list(self._waiting.values()):
            self._fail(call, ClientClosedError("notSent"))
        for call in list(self._sent.values()):
            self._tell_cancelled(call)
            self._fail(call, ClientClosedError("sentNoReply"))
        self._deadlines.close()

    def _dispatch(self, call: Call) -> None:
        session = self._route.ready_session
        if session is None:
            refusal = self._route.refusal()
            if refusal is not None:
                raise refusal
            if len(self._waiting) >= self._max_offline_calls:
                raise OfflineQueueFullError(self._route.label, self._max_offline_calls)
            self._waiting[call.id] = call
            return
        self._check_queue(session)
        session.send_request(call.id, call.type, call.json, call.meta, call.deadline_ms())
        call.session = session
        session.in_flight += 1
        self._sent[call.id] = call

    def _check_queue(self, session: Session) -> None:
        queued = session.queued_bytes
        if queued > self._max_send_queue_bytes:
            raise SendQueueFullError(queued, self._max_send_queue_bytes)

    def _on_failure(self, session: Session, call: Call, body: dict[str, Any]) -> None:
        error = remote_error(body)
        if isinstance(error, RefusedError) and error.code == "DRAINING":
            self._route.retire(session)
            # It was not started, so it may go to the next server.
            if call.repeats < MAX_REPEATS:
                call.repeats += 1
                self._leave(call)
                try:
                    self._dispatch(call)
                    return
                except UnixSocketError:
                    pass
        self._fail(call, error)

    def _fail(self, call: Call, error: BaseException) -> None:
        if not call.is_done:
            self._release(call)
            call.on_failed(error)

    def _on_expired(self, call: Call) -> None:
        self.timeouts += 1
        delivery: Delivery = "notSent" if call.session is None else "sentNoReply"
        cause = self._route.last_error if call.session is None else None
        self._tell_cancelled(call)
        self._fail(call, RequestTimeoutError(call.type, call.limit, delivery, cause))

    def _tell_cancelled(self, call: Call) -> None:
        if call.session is not None:
            call.session.send_cancel(call.id)

    def _release(self, call: Call) -> None:
        call.is_done = True
        if call.limit > 0:
            self._deadlines.remove(call, call.limit)
        self._waiting.pop(call.id, None)
        self._leave(call)
        self._route.on_idle()

    def _leave(self, call: Call) -> None:
        session = call.session
        if session is None:
            return
        self._sent.pop(call.id, None)
        call.session = None
        session.in_flight -= 1
        if session.in_flight == 0 and session.is_retired:
            session.end()


def remote_error(body: dict[str, Any]) -> UnixSocketError:
    """The error of a failed response: a refusal before the start, or the handler's own."""
    error = body["error"]
    text = error if isinstance(error, str) else str(error)
    detail = body.get("error_detail")
    if not isinstance(detail, dict):
        detail = {}
    code = detail.get("code")
    if not isinstance(code, str):
        code = "UNKNOWN_PATTERN" if text == UNKNOWN_REQUEST_TYPE else None
    if detail.get("refused") is True and code in _REFUSALS:
        return RefusedError(str(code), text)
    return RemoteError(text, code, detail.get("details"), detail.get("payload"))
