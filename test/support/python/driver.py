"""A Python peer that is told what to do, for tests written in another language.

    python3 driver.py client <endpoint> [options]
    python3 driver.py server <endpoint> [options]

The endpoint is a socket path or `host:port`; the options are a JSON object of constructor arguments of
`SocketClient` or `SocketServer`. Standard input takes one command a line and standard output gives one
answer a line, in order of completion, with events in between:

    {"id": 1, "command": "request", "args": {"type": "echo", "data": 5}}
    {"event": "push", "type": "tick", "data": 1}
    {"id": 1, "result": {…}}    or    {"id": 1, "error": "TimeoutError: …"}

The commands are the methods of `ClientCommands` and `ServerCommands` without a leading underscore, their
arguments the methods' parameters. The process ends with the command `exit` or when its input is closed.
"""

from __future__ import annotations

import sys

sys.dont_write_bytecode = True

import asyncio
import json
import os
import platform
import threading
from contextlib import suppress
from typing import Any

from driver_client import ClientCommands
from driver_server import ServerCommands
from wire import to_json

ROLES = {"client": ClientCommands, "server": ServerCommands}
CLOSING_TIME = 1.0  # seconds


def emit(line: dict[str, Any]) -> None:
    sys.stdout.write(to_json(_printable(line)) + "\n")
    sys.stdout.flush()


def _printable(value: Any) -> Any:
    """Bytes have no form of their own in JSON: show them under their tag."""
    if isinstance(value, bytes):
        return {"__bytes__": value.hex()}
    if isinstance(value, dict):
        return {key: _printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_printable(item) for item in value]
    return value


def read_lines(loop: asyncio.AbstractEventLoop, lines: asyncio.Queue[bytes | None]) -> None:
    """Runs in a thread, because not every kind of standard input can be watched by an event loop. Reads the
    descriptor itself: a thread that sleeps inside `sys.stdin` would hold its lock while the process ends."""
    rest = b""
    while chunk := os.read(0, 1 << 16):
        *complete, rest = (rest + chunk).split(b"\n") if b"\n" in chunk else (rest + chunk,)
        for line in complete:
            loop.call_soon_threadsafe(lines.put_nowait, line)
    loop.call_soon_threadsafe(lines.put_nowait, None)


async def carry_out(commands: Any, line: bytes) -> None:
    command_id = None
    try:
        order = json.loads(line)
        command_id = order["id"]
        name = order["command"]
        method = None if name.startswith("_") else getattr(commands, name, None)
        if method is None:
            raise ValueError(f"no command {name!r}")
        result = await method(**order.get("args", {}))
    except Exception as error:
        emit({"id": command_id, "error": f"{type(error).__name__}: {error}"})
    else:
        emit({"id": command_id, "result": result})


async def run(role: str, endpoint: str, options: dict[str, Any]) -> None:
    lines: asyncio.Queue[bytes | None] = asyncio.Queue()
    threading.Thread(target=read_lines, args=(asyncio.get_running_loop(), lines), daemon=True).start()
    commands = ROLES[role](endpoint, options, emit)
    emit({"event": "ready", "role": role, "pid": os.getpid(), "python": platform.python_version()})

    running: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references
    next_line = asyncio.ensure_future(lines.get())
    exiting = asyncio.ensure_future(commands._exiting.wait())
    while True:
        await asyncio.wait({next_line, exiting}, return_when=asyncio.FIRST_COMPLETED)
        if exiting.done() or next_line.result() is None:
            break
        task = asyncio.create_task(carry_out(commands, next_line.result()))
        running.add(task)
        task.add_done_callback(running.discard)
        next_line = asyncio.ensure_future(lines.get())

    with suppress(Exception):
        await asyncio.wait_for(commands._close(), CLOSING_TIME)
    # Not by returning: a peer that does not read could hold up the orderly end of its connection for ever.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or sys.argv[1] not in ROLES:
        sys.exit("usage: driver.py client|server <endpoint> [options as JSON]")
    asyncio.run(run(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]) if len(sys.argv) == 4 else {}))
