"""One socket's life: bodies in, frames out, and one close at the end. Never used for a second socket."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from .errors import UnixSocketError
from .frames import FrameReader

FLUSH_LIMIT = 5.0
"""Seconds that a peer gets to take what was written before the connection was ended."""
GATHERED_BYTES = 256 * 1024
"""Frames of one turn of the loop leave together, up to about this much."""
BLOCKED_BYTES = 1024 * 1024
"""A peer that leaves more than this unread is blocked."""


class ConnectionOwner(Protocol):
    def on_open(self) -> None: ...

    def on_body(self, body: bytes) -> None:
        """A whole body. Raises UnixSocketError to end the connection."""

    def on_end(self) -> None:
        """The peer has ended its side."""

    def on_writable(self) -> None:
        """The peer has taken most of what was queued."""

    def on_closed(self, cause: BaseException | None) -> None:
        """Once, last. `cause` is None after an ordinary end."""


class Connection(asyncio.Protocol):
    def __init__(self, owner: ConnectionOwner, max_frame_bytes: int) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader(max_frame_bytes)
        self._transport: asyncio.Transport | None = None
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._cause: BaseException | None = None
        self._abort_timer: asyncio.TimerHandle | None = None
        self._is_ending = False
        self._is_paused = False
        self._held: list[bytes] = []
        self.is_blocked = False
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.bytes_received = 0
        self.bytes_sent = 0

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._is_ending

    @property
    def queued_bytes(self) -> int:
        """Not yet taken by the kernel."""
        transport = self._transport
        return self._gathered_bytes + (0 if transport is None else transport.get_write_buffer_size())

    @property
    def has_partial_frame(self) -> bool:
        # While we do not read, the rest of the frame waits for us.
        return not self._is_paused and self._reader.has_partial_frame

    def send(self, frame: bytes) -> None:
        """Dropped silently once the connection is ending: its calls hear of the end."""
        if self._transport is None or self._is_ending:
            return
        if not self._gathered:
            self._loop.call_soon(self._flush)
        self._gathered.append(frame)
        self._gathered_bytes += len(frame)
        if self._gathered_bytes > GATHERED_BYTES:
            self._flush()
            # The scheduled flush must find something to do, or nothing at all; both are fine.

    def pause(self) -> None:
        if self._transport is not None and not self._is_paused:
            self._is_paused = True
            if not self._transport.is_closing():
                self._transport.pause_reading()

    def resume(self) -> None:
        if not self._is_paused:
            return
        self._is_paused = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        if self._held:
            self._loop.call_soon(self._take_held)

    def end(self) -> None:
        """Ends once what was sent has been taken, but at the latest after FLUSH_LIMIT."""
        if self._transport is None or self._is_ending:
            return
        self._flush()
        self._is_ending = True
        self._abort_timer = self._loop.call_later(FLUSH_LIMIT, self._transport.abort)
        self._transport.close()

    def destroy(self, cause: BaseException | None = None) -> None:
        """Ends now, with an error."""
        if self._cause is None:
            self._cause = cause
        self._is_ending = True
        self._gathered.clear()
        self._gathered_bytes = 0
        if self._transport is not None:
            self._transport.abort()

    # --- called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._is_ending:
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=BLOCKED_BYTES)
        self._owner.on_open()

    def data_received(self, data: bytes) -> None:
        self.bytes_received += len(data)
        if self._is_paused:
            self._held.append(data)
            return
        owner = self._owner
        try:
            for body in self._reader.feed(data):
                owner.on_body(body)
                if self._is_ending:
                    return
        except UnixSocketError as error:
            self.destroy(error)

    def eof_received(self) -> bool:
        self._owner.on_end()
        # The owner decides when to close; a transport that was closed meanwhile does not mind.
        return True

    def pause_writing(self) -> None:
        self.is_blocked = True

    def resume_writing(self) -> None:
        self.is_blocked = False
        self._owner.on_writable()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        self._transport = None
        self._is_ending = True
        self.is_blocked = False
        self._held.clear()
        self._gathered.clear()
        self._gathered_bytes = 0
        if not self.closed.done():
            self.closed.set_result(None)
        self._owner.on_closed(self._cause or exc)

    def _take_held(self) -> None:
        held, self._held = self._held, []
        for data in held:
            self.bytes_received -= len(data)
            self.data_received(data)

    def _flush(self) -> None:
        gathered = self._gathered
        if not gathered or self._transport is None:
            return
        self.bytes_sent += self._gathered_bytes
        data = gathered[0] if len(gathered) == 1 else b"".join(gathered)
        gathered.clear()
        self._gathered_bytes = 0
        self._transport.write(data)
