"""Stand-ins for the deployed V1 peers, both generations of them, with the faults they are known for ("Habit:").

    version_1.py client PATH first|later     connects, makes some requests, waits for a push, says what it saw
    version_1.py server PATH first|later     serves until its standard input ends

Each line of output is one JSON value.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from typing import Any

ACCOUNT = "acc1"


def say(value: Any) -> None:
    print(json.dumps(value), flush=True)


async def read_body(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))


def frame(message: Any, ascii_only: bool) -> bytes:
    body = json.dumps(message, ensure_ascii=ascii_only).encode()
    return len(body).to_bytes(4, "big") + body


class Client:
    def __init__(self, generation: str) -> None:
        self.generation = generation
        self.pushes: asyncio.Queue[Any] = asyncio.Queue()
        self.pending: dict[str, asyncio.Future[Any]] = {}
        self.connected = False

    async def connect(self, path: str) -> bool:
        self.reader, self.writer = await asyncio.open_unix_connection(path)
        self.connected = True
        greeting = json.loads(await read_body(self.reader))
        if greeting.get("type") != "register":
            # Habit: it thinks itself connected, and never reads again.
            return True
        if greeting["data"]["account_id"] != ACCOUNT:
            return False
        self.receiving = asyncio.create_task(self.receive())
        return True

    async def receive(self) -> None:
        # Habit: whatever goes wrong in here ends the receiving, and so the connection.
        try:
            while True:
                self.take(json.loads(await read_body(self.reader)))
        except Exception as error:  # noqa: BLE001
            say({"receiving ended": type(error).__name__})
        finally:
            self.connected = False
            self.writer.close()

    def take(self, message: Any) -> None:
        kind = message.get("type")
        if kind is None:
            return
        if kind != "response":
            self.pushes.put_nowait([kind, message.get("data")])
            return
        if self.generation == "first":
            # Habit: it looks into the data of a failure, which servers send as null.
            failed = message["status"] == "error"
            text = message["data"].get("message") if failed else None
            result = None if failed else message["data"]
        elif message["status"] == "success":
            # Habit: it takes the message, which servers send as a text, for the holder of the result.
            text, result = None, message["message"].get("data")
        else:
            text, result = message["message"], None
        future = self.pending.pop(message["request_id"], None)
        if future is not None:
            future.set_result([result, text])

    async def request(self, kind: str, data: Any) -> Any:
        request_id = str(uuid.uuid4())
        future = self.pending[request_id] = asyncio.get_running_loop().create_future()
        # Habit: raw UTF-8, and numbers that are not JSON.
        self.writer.write(frame({"type": kind, "request_id": request_id, "data": data}, ascii_only=False))
        try:
            return await asyncio.wait_for(future, 2)
        except asyncio.TimeoutError:
            return "timeout"


async def run_client(path: str, generation: str) -> None:
    client = Client(generation)
    say({"connected": await client.connect(path)})
    say({"echo": await client.request("echo", {"text": "汉字 😀", "nan": float("nan"), "n": 2**60})})
    say({"fails": await client.request("fails", None)})
    say({"ping": await client.request("ping", {})})
    say({"push": await asyncio.wait_for(client.pushes.get(), 5)})
    say({"still connected": client.connected, "more pushes": client.pushes.qsize()})
    client.writer.close()


class Server:
    def __init__(self, generation: str) -> None:
        self.generation = generation
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Habit: the first generation knows only whoever connected last.
        self.writers = [writer] if self.generation == "first" else [*self.writers, writer]
        self.send({"type": "register", "account_id": ACCOUNT, "data": {"account_id": ACCOUNT}}, writer)
        try:
            while True:
                await self.handle(json.loads(await read_body(reader)), writer)
        except (asyncio.IncompleteReadError, ConnectionError, ZeroDivisionError):
            pass
        finally:
            if writer in self.writers:
                self.writers.remove(writer)
            writer.close()

    async def handle(self, message: Any, writer: asyncio.StreamWriter) -> None:
        kind, request_id = message.get("type"), message.get("request_id")
        data = message.get("data", {})
        if request_id is None and self.generation == "later":
            return
        try:
            self.reply(request_id, await self.result(kind, data), writer)
        except ValueError as error:
            self.fail(request_id, str(error), writer)
        except ZeroDivisionError as error:
            # Habit: of the first generation, any other error ends the connection without an answer.
            if self.generation == "first":
                raise
            self.fail(request_id, f"内部错误: {error}", writer)

    async def result(self, kind: Any, data: Any) -> Any:
        if kind == "ping":
            return {"status": "ok"}
        if kind == "echo":
            return {"echo": data}
        if kind == "fails":
            raise ValueError("boom")
        if kind == "crashes":
            return 1 // 0
        if kind == "push me":
            for writer in self.writers:
                self.send({"type": "tick", "account_id": ACCOUNT, "data": data}, writer)
            return None
        raise ValueError(f"未注册的请求类型: {kind}")

    def reply(self, request_id: Any, data: Any, writer: asyncio.StreamWriter) -> None:
        answer = {"type": "response", "request_id": request_id, "status": "success", "data": data, "message": ""}
        self.send(answer, writer)

    def fail(self, request_id: Any, text: str, writer: asyncio.StreamWriter) -> None:
        answer = {"type": "response", "request_id": request_id, "status": "error", "data": None, "message": text}
        self.send(answer, writer)

    def send(self, message: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(message, ascii_only=True))


async def run_server(path: str, generation: str) -> None:
    server = await asyncio.start_unix_server(Server(generation).serve, path)
    say("listening")
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    role, at, which = sys.argv[1:]
    asyncio.run((run_client if role == "client" else run_server)(at, which))
