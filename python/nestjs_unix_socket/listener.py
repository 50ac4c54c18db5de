"""The listening socket and, for a path, the file it is reached by."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import Any

from .endpoint import Endpoint
from .errors import AddressInUseError
from .socket_file import SocketFile


class Listener:
    def __init__(self, endpoint: Endpoint, mode: int, backlog: int, accept: Callable[[], asyncio.Protocol]) -> None:
        self._endpoint = endpoint
        self._mode = mode
        self._backlog = backlog
        self._accept = accept
        self._server: asyncio.AbstractServer | None = None
        self._closing: asyncio.AbstractServer | None = None
        self._file: SocketFile | None = None

    @property
    def is_open(self) -> bool:
        return self._server is not None

    @property
    def address(self) -> str | None:
        """Where it listens, with the real port; None when it does not."""
        if self._server is None:
            return None
        if self._endpoint.path is not None:
            return self._endpoint.path
        sockets: tuple[socket.socket, ...] = tuple(getattr(self._server, "sockets", ()))
        host, port = sockets[0].getsockname()[:2]
        return str(Endpoint(host=host, port=port))

    async def open(self) -> None:
        """Returns once clients can connect. Raises AddressInUseError, PathTooLongError, OSError."""
        loop = asyncio.get_running_loop()
        endpoint = self._endpoint
        if endpoint.path is None:
            try:
                self._server = await loop.create_server(
                    self._accept, endpoint.host, endpoint.port, backlog=self._backlog
                )
            except OSError as error:
                raise AddressInUseError(str(endpoint), str(error)) from error
        else:
            self._file = SocketFile(endpoint.path, self._mode, self._backlog)
            # From 3.13 on asyncio would remove a path by itself, and not ask whose it is.
            options: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
            self._server = await loop.create_unix_server(
                self._accept, sock=self._file.socket, backlog=self._backlog, **options
            )

    def close(self) -> None:
        """Gives up the address, then takes no more connections. Those there are stay."""
        if self._file is not None:
            self._file.remove()
            self._file = None
        self._closing, self._server = self._server, None
        assert self._closing is not None
        self._closing.close()

    async def wait_closed(self) -> None:
        """Returns once every connection has ended."""
        if self._closing is not None:
            await self._closing.wait_closed()
            self._closing = None
