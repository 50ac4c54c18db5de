"""Claiming the path of a Unix socket: it is ours or nobody's."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress

from .endpoint import MAX_PATH_BYTES
from .errors import AddressInUseError, PathTooLongError

Identity = tuple[int, int]
_ATTEMPTS = 5


class SocketFile:
    """A listening socket that is bound to a private name first and then linked to its path, which fails if
    anything is there. A live server is never replaced, a file that is not ours never deleted."""

    def __init__(self, path: str, mode: int, backlog: int) -> None:
        self.path = path
        directory, name = os.path.split(os.path.abspath(path))
        os.makedirs(directory, mode=0o700, exist_ok=True)
        hidden = os.path.join(os.path.dirname(path), f".{name}.{os.getpid():x}{os.urandom(3).hex()}")
        if len(os.fsencode(hidden)) > MAX_PATH_BYTES:
            raise PathTooLongError(hidden, MAX_PATH_BYTES)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.socket.setblocking(False)
            self.socket.bind(hidden)
            try:
                os.chmod(hidden, mode)
                self._identity = _identity(hidden)
                self.socket.listen(backlog)
                self._link(hidden)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(hidden)
        except BaseException:
            self.socket.close()
            raise

    def remove(self) -> None:
        """Removes the file if it is still ours."""
        with suppress(FileNotFoundError):
            if _identity(self.path) == self._identity:
                os.unlink(self.path)

    def _link(self, hidden: str) -> None:
        for _ in range(_ATTEMPTS):
            try:
                os.link(hidden, self.path)
                return
            except FileExistsError:
                with suppress(FileNotFoundError):
                    _remove_if_dead(self.path)
        raise AddressInUseError(self.path, "others claim it at the same time")


def _identity(path: str) -> Identity:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def _remove_if_dead(path: str) -> None:
    status = os.lstat(path)
    if not stat.S_ISSOCK(status.st_mode):
        raise AddressInUseError(path, "there is a file that is no socket")
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.setblocking(False)
        result = probe.connect_ex(path)
    finally:
        probe.close()
    if result not in (errno.ECONNREFUSED, errno.ENOENT):
        # Also a full backlog and a lack of permission say that somebody may be there.
        raise AddressInUseError(path, "a live server listens there")
    quarantine = f"{path}.{os.getpid():x}{os.urandom(3).hex()}"
    os.rename(path, quarantine)
    if _identity(quarantine) != (status.st_dev, status.st_ino):
        # Another server took the place of the dead one meanwhile: put it back.
        with suppress(FileExistsError):
            os.link(quarantine, path)
    os.unlink(quarantine)
