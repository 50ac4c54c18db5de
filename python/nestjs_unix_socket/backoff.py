"""Growing delays between attempts."""

from __future__ import annotations

import random


class BackoffStrategy:
    """`get_delay()` gives the current delay in seconds and lets it grow. With `jitter` each is random between 0 and
    its bound, so that many clients of one server do not come back at the same moment."""

    def __init__(
        self,
        initial_delay: float = 0.5,
        max_delay: float = 15.0,
        multiplier: float = 1.5,
        *,
        jitter: bool = False,
    ) -> None:
        self.initial_delay = initial_delay
        self.max_delay = max_delay
        self.multiplier = multiplier
        self.jitter = jitter
        self._bound = initial_delay

    def get_delay(self) -> float:
        bound = self._bound
        self._bound = min(bound * self.multiplier, self.max_delay)
        return random.uniform(0, bound) if self.jitter else bound

    def reset(self) -> None:
        self._bound = self.initial_delay
