"""Bytes to bodies and back: four bytes of length, big-endian, then the body."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .errors import FrameTooLargeError, MalformedFrameError

HEADER = struct.Struct(">I")
HEADER_BYTES = HEADER.size
MAX_FRAME_BYTES = 16 * 1024 * 1024


def encode_frame(text: str, max_frame_bytes: int) -> bytes:
    """The frame of an ASCII text. Raises FrameTooLargeError."""
    size = len(text)
    if size > max_frame_bytes or size > 0xFFFFFFFF:
        raise FrameTooLargeError(size, max_frame_bytes)
    return HEADER.pack(size) + text.encode("ascii")


class FrameReader:
    """Takes bytes as they come and gives the bodies of whole frames. What is kept grows with what came, not with
    what a header announced."""

    __slots__ = ("_kept", "_limit", "_needed")

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._limit = max_frame_bytes
        self._kept = bytearray()
        self._needed = HEADER_BYTES

    @property
    def has_partial_frame(self) -> bool:
        return bool(self._kept)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Raises MalformedFrameError for a length of 0, FrameTooLargeError for one over the limit."""
        kept = self._kept
        if kept:
            kept += data
            if len(kept) < self._needed:
                return
            data = bytes(kept)
            kept.clear()
        position = 0
        end = len(data)
        while end - position >= HEADER_BYTES:
            (length,) = HEADER.unpack_from(data, position)
            if length == 0:
                raise MalformedFrameError("a body of 0 bytes")
            if length > self._limit:
                raise FrameTooLargeError(length, self._limit)
            start = position + HEADER_BYTES
            if end - start < length:
                self._needed = HEADER_BYTES + length
                break
            position = start + length
            yield data[start:position]
        else:
            self._needed = HEADER_BYTES
        if position < end:
            kept += data[position:]
