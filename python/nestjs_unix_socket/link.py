"""The lasting relation of a client to its server: one connection after another, and what waits for the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from .backoff import BackoffStrategy
from .calls import Calls
from .endpoint import Endpoint
from .errors import ClientClosedError, NotConnectedError, UnixSocketError
from .pushes import PushDispatcher, run_callback
from .session import Session, SessionOptions

Callback = Callable[[], Any]
_STABLE_AFTER = 5.0
"""Seconds a connection has to last before the delays of reconnecting start from the first again."""


class Link:
    def __init__(
        self,
        endpoint: Endpoint,
        options: SessionOptions,
        pushes: PushDispatcher,
        backoff: BackoffStrategy,
        *,
        auto_reconnect: bool,
        max_attempts: int,
        max_send_queue_bytes: int,
        max_offline_calls: int,
    ) -> None:
        self.label = str(endpoint)
        self.auto_reconnect = auto_reconnect
        self.calls = Calls(self, max_send_queue_bytes, max_offline_calls)
        self.connects = 0
        self.on_connect: Callback | None = None
        self.on_disconnect: Callback | None = None
        self._endpoint = endpoint
        self._options = options
        self._pushes = pushes
        self._backoff = backoff
        self._max_attempts = max_attempts
        self._session: Session | None = None
        self._sessions: set[Session] = set()
        self._opening: Session | None = None
        self._ready_at = 0.0
        self._connecting: asyncio.Future[None] | None = None
        self._reconnecting: asyncio.Task[None] | None = None
        self._callbacks: set[asyncio.Task[None]] = set()
        self._idle_waiter: asyncio.Future[None] | None = None
        self._is_wanted = False
        self._last_error: UnixSocketError | None = None

    async def connect(self, retry_interval: float, max_retries: int) -> None:
        if self._session is not None:
            return
        if self._connecting is not None:
            await asyncio.shield(self._connecting)
            return
        self._is_wanted = True
        self._cancel_reconnecting()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connecting = done
        error: BaseException | None = None
        try:
            for attempts_left in reversed(range(max(1, max_retries))):
                try:
                    await self._open()
                    break
                except UnixSocketError as failure:
                    if attempts_left == 0:
                        raise
                    self._last_error = failure
                # disconnect() ends the wait.
                await asyncio.wait([done], timeout=retry_interval)
                if not self._is_wanted:
                    raise ClientClosedError("notSent")
        except BaseException as failure:
            error = failure
            raise
        finally:
            self._connecting = None
            if not done.done():
                if error is None:
                    done.set_result(None)
                else:
                    # A second caller of connect() hears the same; without one nobody is to be told of it.
                    done.set_exception(error if isinstance(error, UnixSocketError) else ClientClosedError("notSent"))
                    done.exception()
            if error is not None and self._session is None:
                self._is_wanted = False
                self.calls.fail_waiting(NotConnectedError(self.label, error))
        await run_callback(self.on_connect)

    async def disconnect(self, drain_timeout: float) -> None:
        self._is_wanted = False
        self._cancel_reconnecting()
        if drain_timeout > 0 and self.calls.pending:
            self._idle_waiter = asyncio.get_running_loop().create_future()
            try:
                await asyncio.wait_for(self._idle_waiter, drain_timeout)
            except asyncio.TimeoutError:
                pass
            finally:
                self._idle_waiter = None
        if self._connecting is not None and not self._connecting.done():
            self._connecting.set_exception(ClientClosedError("notSent"))
            self._connecting.exception()
        if self._opening is not None:
            self._opening.destroy()
        self.calls.close()
        sessions = list(self._sessions)
        for session in sessions:
            session.end()
        if sessions:
            await asyncio.wait([session.closed for session in sessions])
        await self._pushes.close()
        self._pushes.end_subscriptions()
        current = asyncio.current_task()
        callbacks = [task for task in self._callbacks if task is not current]
        if callbacks:
            await asyncio.wait(callbacks)

    def start_auto_reconnect(self) -> None:
        self.auto_reconnect = True
        self._is_wanted = True
        if self._session is None and self._connecting is None:
            self._reconnect()

    def stop_auto_reconnect(self) -> None:
        self.auto_reconnect = False
        if self._reconnecting is not None:
            self._cancel_reconnecting()
            self.calls.fail_waiting(NotConnectedError(self.label, self._last_error))

    @property
    def ready_session(self) -> Session | None:
        return self._session

    @property
    def last_error(self) -> UnixSocketError | None:
        return self._last_error

    def refusal(self) -> UnixSocketError | None:
        if self._connecting is not None or self._reconnecting is not None:
            return None
        return NotConnectedError(self.label, self._last_error)

    def retire(self, session: Session) -> None:
        if session.is_retired:
            return
        session.is_retired = True
        if self._session is session:
            self._session = None
            if self._is_wanted and self.auto_reconnect:
                self._reconnect(immediately=True)
        if session.in_flight == 0:
            session.end()

    def on_idle(self) -> None:
        if self._idle_waiter is not None and not self.calls.pending and not self._idle_waiter.done():
            self._idle_waiter.set_result(None)

    def on_response(self, session: Session, body: dict[str, Any], size: int) -> None:
        self.calls.on_response(session, body, size)

    def on_push(self, push_type: Any, data: Any, size: int) -> None:
        self._pushes.on_push(push_type, data, size)

    def on_going_away(self, session: Session) -> None:
        self.retire(session)

    def on_session_closed(self, session: Session, error: UnixSocketError) -> None:
        self._sessions.discard(session)
        self._last_error = error
        was_current = self._session is session
        if was_current:
            self._session = None
            if asyncio.get_running_loop().time() - self._ready_at >= _STABLE_AFTER:
                self._backoff.reset()
            # Before its calls hear of the loss, so that a call made again at once waits for the next connection.
            if self._is_wanted and self.auto_reconnect:
                self._reconnect()
        self.calls.on_lost(session, error)
        if self.on_disconnect is not None and (was_current or session.is_retired):
            self._start(run_callback(self.on_disconnect))

    # --- private

    async def _open(self) -> None:
        session = Session(self._endpoint, self._options, self)
        self._opening = session
        try:
            await session.open()
        finally:
            if self._opening is session:
                self._opening = None
        # It may have ended, or said that it will, together with the greeting.
        if session.closed.done() or session.is_retired:
            raise self._last_error or NotConnectedError(self.label)
        if not self._is_wanted:
            session.destroy()
            raise ClientClosedError("notSent")
        self._session = session
        self._sessions.add(session)
        self._ready_at = asyncio.get_running_loop().time()
        self.connects += 1
        self.calls.send_waiting()

    def _reconnect(self, *, immediately: bool = False) -> None:
        if self._reconnecting is None and self._connecting is None:
            self._reconnecting = asyncio.get_running_loop().create_task(self._run_reconnect(immediately))

    async def _run_reconnect(self, immediately: bool) -> None:
        attempts = 0
        try:
            while self._session is None:
                if not immediately:
                    await asyncio.sleep(self._backoff.get_delay())
                immediately = False
                attempts += 1
                try:
                    await self._open()
                except UnixSocketError as error:
                    self._last_error = error
                    if 0 < self._max_attempts <= attempts:
                        break
        finally:
            if self._reconnecting is asyncio.current_task():
                self._reconnecting = None
        if self._session is None:
            self.calls.fail_waiting(NotConnectedError(self.label, self._last_error))
        elif self.on_connect is not None:
            self._start(run_callback(self.on_connect))

    def _cancel_reconnecting(self) -> None:
        task, self._reconnecting = self._reconnecting, None
        if task is not None:
            task.cancel()
            self._keep(task)

    def _start(self, callback: Coroutine[Any, Any, None]) -> None:
        self._keep(asyncio.get_running_loop().create_task(callback))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._callbacks.add(task)
        task.add_done_callback(self._callbacks.discard)
