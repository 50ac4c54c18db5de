"""What a server's options mean to each of its clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SlowConsumerPolicy = Literal["disconnect", "drop"]


@dataclass(frozen=True)
class PeerOptions:
    """Times in seconds."""

    account_id: str
    heartbeat_interval: float
    heartbeat_timeout: float
    frame_timeout: float
    max_frame_bytes: int
    max_send_queue_bytes: int
    max_concurrent: int
    max_queued: int
    max_queued_bytes: int
    accepts_v1: bool
    accepts_v2: bool
