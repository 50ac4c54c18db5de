"""The client half of the stand-ins; see `reference_peer.py`. Remarks that begin with "Habit:" mark what is
deliberately as the deployed client does it."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Awaitable, Callable

from callbacks import log, run_callback
from wire import Message, dial, encode, heartbeat_message, read_message, request_message

DataCallback = Callable[[Any, Any], Any]
Callback = Callable[[], Any]


class SocketClient:
    """`account_id` is stored and never used; `max_reconnect_attempts` 0 is endless; all times are seconds."""

    def __init__(
        self,
        socket_path: str,
        account_id: str,
        on_data_callback: DataCallback | None = None,
        auto_reconnect: bool = True,
        reconnect_interval: float = 3.0,
        max_reconnect_attempts: int = 1000,
        heartbeat_interval: float = 15.0,
        request_timeout: float = 10.0,
        *,
        look_interval: float = 1.0,
        observer: Callable[[Message], None] | None = None,
    ) -> None:
        self.socket_path = socket_path
        self.account_id = account_id
        self.on_data_callback = on_data_callback
        self.auto_reconnect = auto_reconnect
        self.reconnect_interval = reconnect_interval
        self.max_reconnect_attempts = max_reconnect_attempts
        self.heartbeat_interval = heartbeat_interval
        self.request_timeout = request_timeout
        self.look_interval = look_interval
        self.observer = observer
        self._connected = False
        self._writer: asyncio.StreamWriter | None = None
        self._left_open: list[asyncio.StreamWriter] = []
        self._pending: dict[str, asyncio.Future[Message]] = {}
        self._push_handlers: dict[Any, DataCallback] = {}
        self._on_connect: Callback | None = None
        self._on_disconnect: Callback | None = None
        self._receiving: asyncio.Task[None] | None = None
        self._beating: asyncio.Task[None] | None = None
        self._reconnecting: asyncio.Task[None] | None = None
        # Habit: the verdict is kept for a heartbeat interval, and a write that went through is all it proves.
        self._health = HealthChecker(interval=heartbeat_interval)

    async def connect(self, retry_interval: float = 3.0, max_retries: int = 30) -> bool:
        """Habits: it sleeps after the last failure too, a failed first connect starts no reconnecting, and
        connecting twice opens a second connection beside the first."""
        for _ in range(max_retries):
            if await self._open():
                return True
            await asyncio.sleep(retry_interval)
        return False

    async def disconnect(self) -> None:
        """Habit: reconnecting goes on, so the client comes back unless `stop_auto_reconnect` was called first."""
        self._connected = False
        for task in (self._receiving, self._beating):
            if task is not None:
                task.cancel()
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(ConnectionError("disconnected"))
        self._pending.clear()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    async def request(self, request_type: str, data: Any, timeout: float | None = None) -> Any:
        """The result. Habit: None stands alike for an error answer, a timeout, a lost connection, data that
        cannot be encoded and a real null."""
        try:
            response = await self.exchange(request_type, data, timeout)
        except Exception as error:
            log.info("request %s failed: %r", request_type, error)
            return None
        return self.result_of(response)

    async def exchange(self, request_type: str, data: Any, timeout: float | None = None) -> Message:
        """What `request` does, with the whole response and with exceptions; for tests that need to see more."""
        if not self._connected:
            raise ConnectionError("not connected")
        message = request_message(request_type, data)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._pending[message.request_id] = answer
        try:
            # Habit: the timeout does not cover the writing, and a lost connection does not end the wait.
            await self._write(encode(message))
            return await asyncio.wait_for(answer, self.request_timeout if timeout is None else timeout)
        finally:
            self._pending.pop(message.request_id, None)

    @staticmethod
    def result_of(response: Message) -> Any:
        """Habit: any truthy error wins over data, and an empty one is no error."""
        return None if response.error else response.data

    def on_push(self, push_type: str) -> Callable[[DataCallback], DataCallback]:
        def register(handler: DataCallback) -> DataCallback:
            self._push_handlers[push_type] = handler
            return handler

        return register

    def set_connect_callback(self, callback: Callback) -> None:
        self._on_connect = callback

    def set_disconnect_callback(self, callback: Callback) -> None:
        self._on_disconnect = callback

    def start_auto_reconnect(self) -> None:
        self.auto_reconnect = True
        if self._reconnecting is None or self._reconnecting.done():
            self._reconnecting = asyncio.create_task(self._reconnect())

    def stop_auto_reconnect(self) -> None:
        self.auto_reconnect = False
        if self._reconnecting is not None:
            self._reconnecting.cancel()
            self._reconnecting = None

    async def health_check(self) -> bool:
        """Habit: true when not connected."""
        return await self._health.check(self.send_heartbeat)

    async def send_heartbeat(self) -> bool:
        if not self._connected:
            return False
        await self._write(encode(heartbeat_message()))
        return True

    async def send_bytes(self, data: bytes) -> None:
        """Bytes as they are, for tests of a server's patience."""
        await self._write(data)

    def is_connected(self) -> bool:
        return self._connected

    def get_stats(self) -> dict[str, Any]:
        return {
            "connected": self._connected,
            "pending_requests": len(self._pending),
            "auto_reconnect": self.auto_reconnect,
            "heartbeat_interval": self.heartbeat_interval,
            "reconnect_attempts": self.max_reconnect_attempts,  # habit: the maximum, not a count
        }

    async def _open(self) -> bool:
        try:
            reader, writer = await dial(self.socket_path)
        except OSError as error:
            log.debug("cannot connect to %s: %s", self.socket_path, error)
            return False
        # Habit: a replaced socket is never closed, its server goes on seeing a live, silent connection. The
        # reference is kept because some versions of Python would close it as garbage and some would not.
        if self._writer is not None:
            self._left_open.append(self._writer)
        self._writer = writer
        self._connected = True  # habit: nobody waits for the greeting
        self._receiving = asyncio.create_task(self._receive(reader))
        if self.heartbeat_interval > 0:
            self._beating = asyncio.create_task(self._beat())
        if self.auto_reconnect:
            self.start_auto_reconnect()
        await run_callback(self._on_connect)
        return True

    async def _write(self, data: bytes) -> None:
        if self._writer is None:
            raise ConnectionError("not connected")
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError:
            self._connected = False
            raise

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        """Habits: pushes are handled in here, one at a time, so a slow push handler holds up responses too and
        a request made inside one times out; pending requests are not failed when the connection is lost; the
        socket stays open after a bad frame and after the server's end of stream."""
        try:
            while (message := await read_message(reader)) is not None:
                if self.observer is not None:
                    self.observer(message)
                if message.msg_type == "response":
                    # An id that is an array or object raises here and so drops the connection.
                    answer = self._pending.pop(message.request_id, None)
                    if answer is not None and not answer.done():
                        answer.set_result(message)
                elif message.msg_type == "push":
                    await self._on_push_message(message)
        except Exception as error:
            log.info("receiving ended: %r", error)
        self._connected = False
        await run_callback(self._on_disconnect)

    async def _on_push_message(self, message: Message) -> None:
        data = message.data if isinstance(message.data, dict) else {}
        push_type = data.get("type", "unknown")
        await run_callback(self._push_handlers.get(push_type, self.on_data_callback), push_type, data.get("data", {}))

    async def _beat(self) -> None:
        """Habit: only a pause of a whole interval ends this loop, so every quicker reconnect adds another one."""
        while True:
            await asyncio.sleep(self.heartbeat_interval)
            try:
                if not await self.send_heartbeat():
                    return
            except OSError:
                return

    async def _reconnect(self) -> None:
        """Habit: the loss is noticed by a look once a second; each attempt comes after the backoff's delay, and
        a failed one is followed by `reconnect_interval` on top."""
        backoff = BackoffStrategy(self.reconnect_interval, 60.0, 1.5)
        attempts = 0
        while True:
            if self._connected:
                attempts = 0
                backoff.reset()
                await asyncio.sleep(self.look_interval)
                continue
            attempts += 1
            if 0 < self.max_reconnect_attempts < attempts:
                return
            await asyncio.sleep(backoff.get_delay())
            await self.connect(self.reconnect_interval, max_retries=1)


class BackoffStrategy:
    """Growing delays without jitter. An initial delay above the maximum is returned once as it is."""

    def __init__(self, initial_delay: float = 0.5, max_delay: float = 15.0, multiplier: float = 1.5) -> None:
        self.initial_delay = initial_delay
        self.max_delay = max_delay
        self.multiplier = multiplier
        self._next = initial_delay

    def get_delay(self) -> float:
        delay = self._next
        self._next = min(delay * self.multiplier, self.max_delay)
        return delay

    def reset(self) -> None:
        self._next = self.initial_delay


class HealthChecker:
    """Remembers a verdict for `interval`. Healthy unless the check raises or hangs: a returned False is healthy."""

    def __init__(self, interval: float = 5.0, timeout: float = 3.0) -> None:
        self.interval = interval
        self.timeout = timeout
        self.is_healthy = True
        self._checked_at = -float("inf")

    async def check(self, func: Callable[[], Awaitable[Any]]) -> bool:
        if time.monotonic() - self._checked_at >= self.interval:
            self._checked_at = time.monotonic()
            try:
                await asyncio.wait_for(func(), self.timeout)
                self.is_healthy = True
            except Exception:
                self.is_healthy = False
        return self.is_healthy
