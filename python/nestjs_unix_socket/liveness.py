"""Beats, and judges silence."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Protocol

_LOOKS_PER_TIMEOUT = 4  # a verdict comes at most this fraction too late
_ANSWERED_BEATS_PER_SECOND = 20


class LivenessTarget(Protocol):
    @property
    def bytes_received(self) -> int:
        """Any byte is a sign of life."""

    @property
    def has_partial_frame(self) -> bool: ...

    def silence_limit(self) -> float:
        """How long the peer may be silent now, in seconds; 0 for ever."""

    def beat(self) -> None: ...

    def on_silent(self, limit: float) -> None: ...

    def on_stuck_frame(self, limit: float) -> None: ...


class Liveness:
    """Silence is counted in looks at which nothing new had come, not in clock time: when this process itself was
    stopped or blocked, one look is missed and no healthy peer is accused."""

    def __init__(self, target: LivenessTarget, interval: float, timeout: float, frame_timeout: float) -> None:
        self._target = target
        self._interval = interval
        self._frame_timeout = frame_timeout
        self._look_interval = max(0.001, min(timeout or math.inf, frame_timeout or math.inf) / _LOOKS_PER_TIMEOUT)
        self._seen = 0
        self._quiet_looks = 0
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def start(self) -> None:
        self._seen = self._target.bytes_received
        if self._interval > 0:
            self._schedule_beat()
        if math.isfinite(self._look_interval):
            self._schedule_look()

    def stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _schedule_beat(self) -> None:
        self._timers["beat"] = asyncio.get_running_loop().call_later(self._interval, self._beat)

    def _schedule_look(self) -> None:
        self._timers["look"] = asyncio.get_running_loop().call_later(self._look_interval, self._look)

    def _beat(self) -> None:
        self._schedule_beat()
        self._target.beat()

    def _look(self) -> None:
        self._schedule_look()
        target = self._target
        if target.bytes_received != self._seen:
            self._seen = target.bytes_received
            self._quiet_looks = 0
            return
        is_partial = target.has_partial_frame
        limit = target.silence_limit()
        if limit <= 0 and not is_partial:
            self._quiet_looks = 0
            return
        self._quiet_looks += 1
        quiet = self._quiet_looks * self._look_interval
        if is_partial and 0 < self._frame_timeout <= quiet:
            target.on_stuck_frame(self._frame_timeout)
        elif 0 < limit <= quiet:
            target.on_silent(limit)


class BeatLimiter:
    """Keeps a peer that beats without measure from being answered without measure."""

    def __init__(self) -> None:
        self._window_start = -math.inf
        self._beats = 0

    def admit(self) -> bool:
        now = time.monotonic()
        if now - self._window_start >= 1:
            self._window_start = now
            self._beats = 0
        self._beats += 1
        return self._beats <= _ANSWERED_BEATS_PER_SECOND
