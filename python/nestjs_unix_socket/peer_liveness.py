"""Beats to one client, answers its beats, and ends it when it is silent, stuck, or gone after ending its side."""

from __future__ import annotations

import asyncio
from typing import Any, Literal, Protocol

from .connection import Connection
from .envelope import heartbeat_frame
from .errors import FrameTimeoutError, PeerSilentError, UnixSocketError
from .liveness import BeatLimiter, Liveness
from .peer_options import PeerOptions

HALF_OPEN_BEAT = 0.5
"""A plain client that has ended its side is written to this often, to find out whether it is still there."""


class LivePeer(Protocol):
    id: str
    version: Literal["v1", "v2"] | None
    is_upgraded: bool

    def destroy(self, cause: UnixSocketError) -> None: ...


class PeerLiveness:
    def __init__(self, peer: LivePeer, socket: Connection, options: PeerOptions) -> None:
        self.is_half_open = False
        """Whether the client has ended its side and waits for answers."""
        self._peer = peer
        self._socket = socket
        self._options = options
        self._liveness = Liveness(self, options.heartbeat_interval, options.heartbeat_timeout, options.frame_timeout)
        self._limiter = BeatLimiter()
        self._probes = 0
        self._half_open_timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._liveness.start()

    def stop(self) -> None:
        self._liveness.stop()
        if self._half_open_timer is not None:
            self._half_open_timer.cancel()

    def on_half_open(self) -> None:
        """From now on only a write that fails shows that it has gone."""
        self.is_half_open = True
        self._liveness.stop()
        self._beat_half_open()

    def on_heartbeat(self, body: dict[str, Any]) -> None:
        if "probe_ack" in body:
            return
        # One that does not read its answers would pile them up.
        if not self._limiter.admit() or self._socket.is_blocked:
            return
        probe = body.get("probe")
        is_probe = type(probe) is int and probe >= 0
        self._socket.send(heartbeat_frame(f',"probe_ack":{probe}' if is_probe else ""))

    # --- called by Liveness

    @property
    def bytes_received(self) -> int:
        return self._socket.bytes_received

    @property
    def has_partial_frame(self) -> bool:
        return self._socket.has_partial_frame

    def silence_limit(self) -> float:
        if self._options.accepts_v1 and (self._peer.version == "v1" or self.bytes_received == 0):
            # Clients of the first version never beat, and those that only listen never say anything.
            return 0
        return self._options.heartbeat_timeout

    def beat(self) -> None:
        if self._peer.is_upgraded:
            self._probes += 1
            self._socket.send(heartbeat_frame(f',"probe":{self._probes}'))

    def on_silent(self, limit: float) -> None:
        self._peer.destroy(PeerSilentError(f"client {self._peer.id}", limit))

    def on_stuck_frame(self, limit: float) -> None:
        self._peer.destroy(FrameTimeoutError(limit))

    # --- private

    def _beat_half_open(self) -> None:
        self._socket.send(heartbeat_frame())
        self._half_open_timer = asyncio.get_running_loop().call_later(HALF_OPEN_BEAT, self._beat_half_open)
