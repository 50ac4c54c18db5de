#!/usr/bin/env python3
"""The conformance application on top of peer.py, for `npx nestjs-unix-socket conformance`.

    python3 conformance.py server /tmp/peer.sock    then    npx nestjs-unix-socket conformance /tmp/peer.sock
    npx nestjs-unix-socket conformance /tmp/peer.sock --role client    then    python3 conformance.py client /tmp/peer.sock

docs/conformance.md says what each handler and task means.
"""

import asyncio
import sys

import peer

peer.say = lambda text: None
peer.HEARTBEAT_EVERY = 0.25
UNSUPPORTED = ("stream", "event", "cancelAfterMs", "meta")


# --- As a server


async def echo(data):
    return data


async def nothing(data):
    pass


async def fail(text):
    raise RuntimeError(text)


async def unencodable(data):
    return object()


async def slow(data):
    await asyncio.sleep(data["ms"] / 1000)
    return data["value"]


async def serve(path):
    async def push(data):
        server.push(data["type"], data["data"])

    server = peer.Server({f.__name__: f for f in (echo, nothing, fail, unencodable, slow, push)})
    listener = await asyncio.start_unix_server(server.on_connection, path)
    async with listener:
        await listener.serve_forever()


# --- As a client


async def carry_out(client, order):
    for word in UNSUPPORTED:
        if word in order:
            return {"unsupported": word}
    try:
        return {"result": await client.call(order["type"], order["data"])}
    except Exception as error:
        return {"error": str(error)}


async def obey(path):
    report, pushes = None, []
    while True:
        client = peer.Client(on_push=lambda push_type, data: pushes.append([push_type, data]))
        try:
            await client.connect(path)
            while True:
                task = await client.call("conformance.next", report, timeout=3600)
                if "done" in task:
                    return
                pushes.clear()
                outcomes = await asyncio.gather(*(carry_out(client, order) for order in task["calls"]))
                report = {"task": task["task"], "outcomes": outcomes, "pushes": list(pushes)}
        except (EOFError, ConnectionError, ValueError, asyncio.TimeoutError):
            pass  # the kit cut this connection: on to the next
        finally:
            if hasattr(client, "tasks"):
                await client.close()


if __name__ == "__main__":
    roles = {"client": obey, "server": serve}
    if len(sys.argv) != 3 or sys.argv[1] not in roles:
        sys.exit(__doc__)
    try:
        asyncio.run(roles[sys.argv[1]](sys.argv[2]))
    except (OSError, KeyboardInterrupt) as end:
        sys.exit(str(end))
