"""Where a server listens and a client connects: the path of a Unix socket, or `host:port`."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass

from .errors import PathTooLongError

MAX_PATH_BYTES = 107 if sys.platform.startswith("linux") else 103
_ADDRESS = re.compile(r"(?:tcp://)?(?:\[([^\]/]+)\]|([^/:]+)):(\d{1,5})")


@dataclass(frozen=True)
class Endpoint:
    """Either `path` or `host` and `port`."""

    path: str | None = None
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if self.path is not None:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_endpoint(address: str | os.PathLike[str]) -> Endpoint:
    """`/run/app.sock`, `host:port`, `[v6]:port` or `tcp://host:port`. A relative path with a colon needs `./`."""
    text = os.fspath(address)
    match = _ADDRESS.fullmatch(text)
    if match is not None:
        port = int(match[3])
        if port > 0xFFFF:
            raise ValueError(f"{text}: there is no port {port}")
        return Endpoint(host=match[1] or match[2], port=port)
    if not text or "\0" in text:
        raise ValueError(f"{text!r} is neither a path nor host:port")
    if len(os.fsencode(text)) > MAX_PATH_BYTES:
        raise PathTooLongError(text, MAX_PATH_BYTES)
    return Endpoint(path=text)
