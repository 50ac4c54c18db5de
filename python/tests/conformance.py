#!/usr/bin/env python3
"""The conformance application of this package, for `npx nestjs-unix-socket conformance`.

    python3 conformance.py server /tmp/peer.sock    then    npx nestjs-unix-socket conformance /tmp/peer.sock
    npx nestjs-unix-socket conformance /tmp/peer.sock --role client    then    python3 conformance.py client /tmp/peer.sock

Instead of a path, `host:port` makes it TCP. A third argument, `v1`, makes the client speak the first version.
docs/conformance.md says what each handler and task means.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))

from nestjs_unix_socket import RequestContext, SocketClient, SocketServer, UnixSocketError


async def serve(endpoint: str) -> None:
    server = SocketServer(endpoint, "acc1")
    cancelled = events = 0

    def fail(text: str) -> None:
        raise RuntimeError(text)

    async def slow(data: dict[str, Any]) -> Any:
        await asyncio.sleep(data["ms"] / 1000)
        return data["value"]

    async def hang(_data: Any) -> None:
        nonlocal cancelled
        try:
            await asyncio.Event().wait()
        finally:
            cancelled += 1

    async def stream(length: int) -> Any:
        for number in range(1, length + 1):
            yield number

    def meta(_data: Any, context: RequestContext) -> dict[str, str]:
        return dict(context.meta)

    def event(_data: Any) -> None:
        nonlocal events
        events += 1

    handlers: dict[str, Any] = {
        "echo": lambda data: data,
        "nothing": lambda _data: None,
        "fail": fail,
        "unencodable": lambda _data: object(),
        "slow": slow,
        "push": lambda data: server.push(data["type"], data["data"]) and None,
        "stream": stream,
        "hang": hang,
        "cancelled": lambda _data: cancelled,
        "meta": meta,
        "event": event,
        "events": lambda _data: events,
    }
    for name, handler in handlers.items():
        server.register_handler(name, handler)
    await server.start()


async def carry_out(client: SocketClient, order: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"result": await make_call(client, order)}
    except (UnixSocketError, asyncio.TimeoutError) as error:
        return {"error": str(error) or type(error).__name__, "code": getattr(error, "code", None)}


async def make_call(client: SocketClient, order: dict[str, Any]) -> Any:
    kind, data = order["type"], order["data"]
    if "event" in order:
        return await client.emit(kind, data)
    if "stream" in order:
        return [value async for value in client.stream(kind, data)]
    if "cancelAfterMs" in order:
        return await asyncio.wait_for(client.request(kind, data), order["cancelAfterMs"] / 1000)
    timeout = order["timeoutMs"] / 1000 if "timeoutMs" in order else None
    return await client.request(kind, data, timeout, meta=order.get("meta"))


async def obey(endpoint: str, protocol: Any = "auto") -> None:
    pushes: list[Any] = []
    client = SocketClient(
        endpoint,
        "acc1",
        lambda push_type, data: pushes.append([push_type, data]),
        reconnect_interval=0.02,
        max_reconnect_delay=0.1,
        heartbeat_interval=0.25,
        protocol=protocol,
    )
    report: dict[str, Any] | None = None
    await client.connect()
    while True:
        task = None
        with suppress(UnixSocketError):  # the kit cut this connection: the next one asks again
            task = await client.request("conformance.next", report, 3600)
        if task is None:
            continue
        if "done" in task:
            break
        pushes.clear()
        outcomes = await asyncio.gather(*(carry_out(client, order) for order in task["calls"]))
        report = {"task": task["task"], "outcomes": outcomes, "pushes": list(pushes)}
    await client.disconnect()


if __name__ == "__main__":
    roles: dict[str, Any] = {"client": obey, "server": serve}
    if len(sys.argv) < 3 or sys.argv[1] not in roles:
        sys.exit(__doc__)
    with suppress(KeyboardInterrupt):
        asyncio.run(roles[sys.argv[1]](*sys.argv[2:]))
