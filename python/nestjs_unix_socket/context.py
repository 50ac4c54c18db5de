"""What handlers and applications see of a client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .peer import Peer
    from .peer_options import SlowConsumerPolicy


class ClientConnection:
    """One connected client."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    @property
    def id(self) -> str:
        """As the greeting told the client."""
        return self._peer.id

    @property
    def account_id(self) -> str:
        """As the client says; empty from plain ones."""
        return self._peer.account_id

    @property
    def name(self) -> str:
        return self._peer.client_name

    @property
    def protocol(self) -> str | None:
        """`v1`, `v2`, or None until the client has said something."""
        return self._peer.version

    @property
    def is_upgraded(self) -> bool:
        return self._peer.is_upgraded

    @property
    def is_connected(self) -> bool:
        return self._peer.socket.is_open

    @property
    def queued_bytes(self) -> int:
        return self._peer.socket.queued_bytes

    @property
    def rooms(self) -> frozenset[str]:
        return frozenset(self._peer.rooms)

    def join(self, *rooms: str) -> None:
        """Pushes to these rooms reach this client until it leaves them or disconnects."""
        self._peer.rooms.update(rooms)

    def leave(self, *rooms: str) -> None:
        self._peer.rooms.difference_update(rooms)

    def push(self, push_type: str, data: Any = None, *, policy: SlowConsumerPolicy = "disconnect") -> bool:
        """To this client alone. False if it was dropped. Raises EncodeError."""
        return self._peer.push(push_type, data, policy)

    def close(self, reason: str | None = None) -> None:
        self._peer.close(reason)


@dataclass(frozen=True)
class RequestContext:
    """Second argument of handlers that take one."""

    type: str
    connection: ClientConnection
    meta: Mapping[str, str]
    is_event: bool


@dataclass(frozen=True)
class PushOutcome:
    """Of how many clients the push is on its way to, and for how many it was dropped."""

    recipients: int
    dropped: int
