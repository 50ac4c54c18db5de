"""Becomes another program that inherits listening sockets, as systemd's socket units start theirs.

    python3 pass_sockets.py '{"sockets": [{"path": "/run/a.sock"}, {"port": 0}], "env": {…}}' program arguments…

The sockets are the program's descriptors from 3 on, and the process keeps its pid. In the values of `env`, `$PID`
stands for that pid.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
from typing import Any


def listening(where: dict[str, Any]) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX if "path" in where else socket.AF_INET)
    sock.bind(where["path"] if "path" in where else ("127.0.0.1", where["port"]))
    sock.listen()
    return sock


def main(order: str, program: list[str]) -> None:
    plan = json.loads(order)
    sockets = [listening(where) for where in plan["sockets"]]
    # Out of the way first: a socket may have got the number of another one.
    moved = [fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, 100) for sock in sockets]
    for number, descriptor in enumerate(moved, start=3):
        os.dup2(descriptor, number, inheritable=True)
    env = {name: value.replace("$PID", str(os.getpid())) for name, value in plan["env"].items()}
    os.execvpe(program[0], program, {**os.environ, **env})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
