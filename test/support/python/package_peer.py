"""The package of python/ as the other end of a test: `package_peer.py client|server ENDPOINT`.

The client makes a round of calls and prints what came of each as one JSON line; it wants the handlers that
`python-package.spec.ts` gives its server. The server serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3] / "python"))

from nestjs_unix_socket import (  # noqa: E402
    RemoteError,
    RequestContext,
    RequestTimeoutError,
    SocketClient,
    SocketServer,
)


async def run_client(endpoint: str) -> None:
    seen: dict[str, Any] = {}
    async with SocketClient(endpoint, "python") as client:
        pushes = client.pushes()
        seen["echo"] = await client.request("echo", {"text": "你好", "list": [1, None]})
        seen["bytes"] = (await client.request("echo", {"raw": b"\x00\xff"}))["raw"].hex()
        seen["stream"] = [value async for value in client.stream("count", 4)]
        seen["last"] = await client.request("count", 4)
        seen["meta"] = await client.request("meta", None, meta={"trace": "t1"})
        try:
            await client.request("fail", "text")
        except RemoteError as error:
            seen["fail"] = [error.message, error.code, error.delivery]
        try:
            await client.request("nope")
        except RemoteError as error:
            seen["unknown"] = error.code
        try:
            await client.request("hold", None, 0.05)
        except RequestTimeoutError as error:
            seen["timeout"] = error.delivery
        async for _ in client.stream("endless"):
            break
        await client.emit("note", "event")
        await client.emit("note", "acknowledged", acknowledged=True)
        await client.request("join", "room")
        seen["pushes"] = [await asyncio.wait_for(pushes.__anext__(), 5) for _ in range(3)]
        seen["many"] = sum(await asyncio.gather(*(client.request("echo", n) for n in range(500))))
        seen["healthy"] = await client.health_check()
        seen["upgraded"] = client.get_stats()["upgraded"]
    seen["tasks"] = len(asyncio.all_tasks()) - 1
    print(json.dumps(seen), flush=True)


async def run_server(endpoint: str) -> None:
    server = SocketServer(endpoint, "python", drain_timeout=1)
    cancelled = 0

    async def echo(data: Any) -> Any:
        return data

    async def count(to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    async def endless(_data: Any) -> AsyncIterator[int]:
        nonlocal cancelled
        try:
            while True:
                yield 1
                await asyncio.sleep(0.001)
        finally:
            cancelled += 1

    async def hold(_data: Any) -> None:
        nonlocal cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled += 1
            raise

    async def fail(data: Any) -> None:
        error = ValueError(data)
        setattr(error, "code", "ODD")
        raise error

    async def join(data: str, context: RequestContext) -> dict[str, str]:
        context.connection.join(data)
        server.push("all", 1)
        server.push("room", {"raw": b"\xff"}, room=data)
        return dict(context.meta)

    notes: list[Any] = []
    for handler in (echo, count, endless, hold, fail, join):
        server.register_handler(handler.__name__, handler)
    server.register_handler("note", notes.append)
    server.register_handler("notes", lambda _: notes)
    server.register_handler("cancelled", lambda _: cancelled)
    await server.listen()
    print(json.dumps({"listening": server.address}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop()
    print(json.dumps({"tasks": len(asyncio.all_tasks()) - 1}), flush=True)


if __name__ == "__main__":
    asyncio.run({"client": run_client, "server": run_server}[sys.argv[1]](sys.argv[2]))
