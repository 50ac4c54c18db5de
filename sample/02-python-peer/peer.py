#!/usr/bin/env python3
"""A Python program beside a Nest application, with nothing but the standard library.

    python3 peer.py client /tmp/app.sock    calls the Nest server, listens to its pushes for a moment, leaves
    python3 peer.py server /tmp/app.sock    serves a few requests and pushes a tick a second, until Ctrl-C

`frame` and `read_frame` are the whole protocol, `Client` and `Server` a use of it: take what you need.
"""

import asyncio
import itertools
import json
import os
import signal
import sys
import uuid
from datetime import datetime

HEARTBEAT_EVERY, SILENCE_LIMIT = 15, 60  # seconds; who is silent for longer than the limit is cut
LISTEN_FOR = 3  # seconds in which the client waits for pushes
MAX_FRAME_BYTES = 16 * 1024 * 1024
KEYS = {"msg_type", "request_id", "data", "timestamp"}
TYPES = {"request", "response", "push", "heartbeat", "error"}


def say(text):
    print(f"[python] {text}", flush=True)


# --- The protocol: four bytes of length (big-endian), then a JSON object with these five keys.


def frame(msg_type, request_id="", data=None, error=None):
    body = json.dumps(
        {
            "msg_type": msg_type,  # request, response, push, heartbeat or error
            "request_id": request_id,  # ties a response to its request
            "data": data,
            "timestamp": datetime.now().isoformat(),
            "error": error,  # text in a failed response
        },
        allow_nan=False,  # NaN is not JSON, the other side would have to hang up
    ).encode()
    return len(body).to_bytes(4, "big") + body


async def read_frame(reader):
    """The next message. Raises EOFError at the end of the connection, ValueError if it makes no sense."""
    length = int.from_bytes(await reader.readexactly(4), "big")
    if length > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {length} bytes")
    try:
        message = json.loads(await reader.readexactly(length))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(message, dict) or not KEYS <= message.keys() or message["msg_type"] not in TYPES:
        raise ValueError("not a message")
    return message  # keys that we do not know are none of our business


# --- Calling a server


class RemoteError(Exception):
    """The other side answered that the request failed."""


class Client:
    def __init__(self, on_push):
        self.on_push = on_push
        self.waiting = {}  # request id -> future of the answer

    async def connect(self, path):
        for attempts_left in reversed(range(20)):  # so it does not matter who is started first
            try:
                self.reader, self.writer = await asyncio.open_unix_connection(path)
                break
            except OSError:
                if not attempts_left:
                    raise
                await asyncio.sleep(0.25)
        greeting = await asyncio.wait_for(read_frame(self.reader), 5)  # the server speaks first
        self.tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._beat())]
        return greeting["data"]

    async def call(self, request_type, data, timeout=10):
        request_id = str(uuid.uuid4())
        answer = self.waiting[request_id] = asyncio.get_running_loop().create_future()
        try:
            self.writer.write(frame("request", request_id, {"type": request_type, "data": data}))
            await self.writer.drain()
            response = await asyncio.wait_for(answer, timeout)
        finally:
            self.waiting.pop(request_id, None)
        if response.get("error"):
            raise RemoteError(response["error"])
        return response["data"]

    async def close(self):
        for task in self.tasks:
            task.cancel()
        self.writer.close()

    async def _read(self):
        try:
            while True:
                message = await read_frame(self.reader)
                if message["msg_type"] == "push":
                    push = message["data"] if isinstance(message["data"], dict) else {}
                    self.on_push(push.get("type", "unknown"), push.get("data", {}))
                elif message["msg_type"] == "response":
                    # Answers may come in any order; one that nobody waits for any more is dropped.
                    answer = self.waiting.pop(message["request_id"], None)
                    if answer and not answer.done():
                        answer.set_result(message)
        except (EOFError, OSError, ValueError):
            say("the connection is lost")
            self.writer.close()
            for answer in self.waiting.values():  # nobody should sit and wait for a timeout
                if not answer.done():
                    answer.set_exception(ConnectionError("connection lost"))

    async def _beat(self):
        while True:
            await asyncio.sleep(HEARTBEAT_EVERY)
            self.writer.write(frame("heartbeat"))


async def run_client(path):
    client = Client(on_push=lambda push_type, data: say(f"push {push_type}: {data}"))
    greeting = await client.connect(path)
    say(f"connected, the server calls this connection {greeting['conn_id']}")

    calls = [("echo", {"text": "你好 from Python"}), ("sum", [1, 2, 3, 4]), ("no.such.thing", None)]
    for request_type, data in calls:
        try:
            say(f"{request_type} {data} -> {await client.call(request_type, data)}")
        except RemoteError as error:
            say(f"{request_type} {data} -> failed: {error}")

    say(f"listening to pushes for {LISTEN_FOR} s")
    await asyncio.sleep(LISTEN_FOR)
    await client.close()
    say("done")


# --- Serving


class Server:
    def __init__(self, handlers):
        self.handlers = handlers  # request type -> async function of the data
        self.clients = set()

    async def on_connection(self, reader, writer):
        conn_id = uuid.uuid4().hex[:8]
        writer.write(frame("response", data={"account_id": "python", "conn_id": conn_id}))
        self.clients.add(writer)
        say(f"{conn_id} connected")
        try:
            # One request after the other. A slow handler delays what comes behind it on this connection only.
            while True:
                message = await asyncio.wait_for(read_frame(reader), SILENCE_LIMIT)
                if message["msg_type"] == "heartbeat":
                    writer.write(frame("heartbeat"))
                elif message["msg_type"] == "request":
                    writer.write(await self.respond(message))
                await writer.drain()
        except (EOFError, OSError, ValueError, asyncio.TimeoutError, asyncio.CancelledError):
            pass  # it left, talked nonsense or fell silent, or we are stopping: this connection is over
        finally:
            self.clients.discard(writer)
            writer.close()
            say(f"{conn_id} left")

    async def respond(self, message):
        request = message["data"] if isinstance(message["data"], dict) else {}
        name = request.get("type")
        handler = self.handlers.get(name) if isinstance(name, str) else None
        if handler is None:
            return frame("response", message["request_id"], error="Unknown request type")
        try:
            result = await handler(request.get("data", {}))
            say(f"{name} {request.get('data')} -> {result}")
            return frame("response", message["request_id"], result)
        except Exception as error:
            # Never an empty text: an empty error would be taken for success.
            return frame("response", message["request_id"], error=str(error) or type(error).__name__)

    def push(self, push_type, data):
        message = frame("push", str(uuid.uuid4()), {"type": push_type, "data": data})
        for writer in self.clients:
            # Whoever does not read misses pushes, rather than filling our memory.
            if writer.transport.get_write_buffer_size() < 1024 * 1024:
                writer.write(message)


async def echo(data):
    return data


async def add_up(numbers):
    return sum(numbers)


async def divide(data):
    return data["a"] / data["b"]  # try it with b = 0: the caller gets the exception's text


async def run_server(path):
    server = Server({"echo": echo, "sum": add_up, "divide": divide})
    if os.path.exists(path):
        os.unlink(path)  # left behind by a run that was killed; make sure that nobody else uses the path
    listener = await asyncio.start_unix_server(server.on_connection, path)
    say(f"listening on {path}")
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signal_number, asyncio.current_task().cancel)
    try:
        for n in itertools.count(1):
            await asyncio.sleep(1)
            server.push("tick", {"n": n})
    except asyncio.CancelledError:
        say("stopping")
    listener.close()
    for writer in list(server.clients):
        writer.close()
    if os.path.exists(path):
        os.unlink(path)


if __name__ == "__main__":
    roles = {"client": run_client, "server": run_server}
    if len(sys.argv) != 3 or sys.argv[1] not in roles:
        sys.exit(__doc__)
    try:
        asyncio.run(roles[sys.argv[1]](sys.argv[2]))
    except OSError as error:
        sys.exit(f"[python] {sys.argv[2]}: {error}")
    except KeyboardInterrupt:
        say("stopped")
