"""One push in the forms that clients understand, each made once however many get it."""

from __future__ import annotations

import os
from typing import Literal

from . import v1
from .envelope import NO_LIMIT, call_frame
from .errors import FrameTooLargeError
from .frames import HEADER_BYTES


class PushFrames:
    """`versions` are those that the server speaks; `extras` go to clients of the second one."""

    def __init__(self, push_type: str, json: str, extras: str, account_id: str, versions: frozenset[str]) -> None:
        self._type = push_type
        self._json = json
        self._extras = extras
        self._account_id = account_id
        self._versions = versions
        self._made: dict[str, bytes] = {}

    def for_version(self, version: Literal["v1", "v2"] | None, limit: int) -> list[bytes]:
        """For a client that has not shown its version two frames, of which each kind of client ignores one. Raises
        FrameTooLargeError."""
        if version is not None:
            kinds: list[str] = [version]
        elif len(self._versions) == 1:
            kinds = list(self._versions)
        else:
            kinds = ["v2", "wrapped"]
        frames = [self._frame(kind) for kind in kinds]
        for frame in frames:
            if len(frame) - HEADER_BYTES > limit:
                raise FrameTooLargeError(len(frame) - HEADER_BYTES, limit)
        return frames

    def _frame(self, kind: str) -> bytes:
        frame = self._made.get(kind)
        if frame is None:
            if kind == "v2":
                frame = call_frame("push", os.urandom(8).hex(), self._type, self._json, self._extras, NO_LIMIT)
            else:
                in_heartbeat = kind == "wrapped"
                frame = v1.push_frame(self._account_id, self._type, self._json, NO_LIMIT, in_heartbeat=in_heartbeat)
            self._made[kind] = frame
        return frame
