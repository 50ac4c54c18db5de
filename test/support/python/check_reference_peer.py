"""Holds the stand-ins against what was recorded of the deployed peers: every version 2 row of the fixtures.

    python3 test/support/python/check_reference_peer.py
"""

from __future__ import annotations

import sys

sys.dont_write_bytecode = True

import asyncio
import hashlib
import json
import logging
import os
import re
import tempfile
import time
import unittest
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, AsyncIterator

from reference_peer import BackoffStrategy, HealthChecker, SocketClient, SocketServer, request
from values import MOMENT, RECORDED_VALUES
from wire import HEADER, MalformedFrame, Message, decode, dial, encode, tcp_address, to_json

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
UUID_V4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?")
KEYS = ["msg_type", "request_id", "data", "timestamp", "error"]


def rows(name: str) -> list[dict[str, Any]]:
    with open(FIXTURES / name, encoding="utf-8") as lines:
        return [row for row in map(json.loads, lines) if row["version"] == "v2"]


def frame_bytes(row: dict[str, Any]) -> bytes:
    if row["hex"] is not None:
        return bytes.fromhex(row["hex"])
    rebuild = row["rebuild"]
    frame = bytes.fromhex(rebuild["hex_head"] + rebuild["hex_unit"] * rebuild["times"] + rebuild["hex_tail"])
    assert (len(frame), hashlib.sha256(frame).hexdigest()) == (row["length"], row["sha256"]), row["name"]
    return frame


def frame_of(body: str) -> bytes:
    encoded = body.encode("utf-8")
    return HEADER.pack(len(encoded)) + encoded


class RawPeer:
    """The other end of a connection: exact bytes out, exact bodies in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def body(self, timeout: float = 5.0) -> str | None:
        """The next body as text; None when the stream ended between two frames."""
        try:
            header = await asyncio.wait_for(self.reader.readexactly(HEADER.size), timeout)
        except asyncio.IncompleteReadError as end:
            assert end.partial == b"", end.partial
            return None
        (length,) = HEADER.unpack(header)
        return (await asyncio.wait_for(self.reader.readexactly(length), timeout)).decode("ascii")

    async def message(self, timeout: float = 5.0) -> dict[str, Any] | None:
        body = await self.body(timeout)
        return None if body is None else json.loads(body)

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


class PeerCase(unittest.IsolatedAsyncioTestCase):
    maxDiff = None

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "peer.sock")

    @asynccontextmanager
    async def serving(self, endpoint: str | None = None, **options: Any) -> AsyncIterator[SocketServer]:
        server = SocketServer(endpoint or self.path, "acc1", **options)

        async def echo(data: Any) -> Any:
            return {"echo": data}

        server.register_handler("echo", echo)
        task = asyncio.create_task(server.start())
        try:
            while server.address is None:
                if task.done():
                    task.result()
                await asyncio.sleep(0.001)
            yield server
        finally:
            server.stop_waits = False
            await server.stop()
            with suppress(asyncio.CancelledError):
                await task

    async def open(self, endpoint: str | None = None, greeted: bool = True) -> RawPeer:
        peer = RawPeer(*await dial(endpoint or self.path))
        self.addAsyncCleanup(peer.close)
        if greeted:
            await peer.message()
        return peer

    async def connected(self, **options: Any) -> SocketClient:
        client = SocketClient(self.path, "acc1", **{"auto_reconnect": False, "request_timeout": 5.0, **options})
        self.addAsyncCleanup(client.disconnect)
        self.assertTrue(await client.connect(retry_interval=0.01))
        return client

    async def eventually(self, condition: Any, timeout: float = 5.0) -> None:
        until = time.monotonic() + timeout
        while not condition():
            self.assertLess(time.monotonic(), until, "waited too long")
            await asyncio.sleep(0.005)


def request_frame(request_type: str, data: Any = None, request_id: str = "r1") -> bytes:
    return encode(Message("request", request_id, {"type": request_type, "data": data}))


class RecordedFrames(unittest.TestCase):
    def test_every_recorded_frame_is_read(self) -> None:
        for row in rows("frames.jsonl"):
            with self.subTest(row["name"]):
                message = decode(frame_bytes(row)[HEADER.size :])
                self.assertEqual(message.msg_type, row["decoded"]["msg_type"])
                self.assertEqual(message.request_id, row["decoded"]["request_id"])
                self.assertRegex(message.timestamp, f"^{TIMESTAMP.pattern}$")

    def test_every_recorded_frame_is_written_byte_for_byte(self) -> None:
        # Read without the tag rule, so that the value is the one which the sender's application had.
        names = set()
        for row in rows("frames.jsonl"):
            frame = frame_bytes(row)
            value = json.loads(frame[HEADER.size :])
            if row["name"].removeprefix("request_").removeprefix("response_") in RECORDED_VALUES:
                continue  # compared below, from the Python values
            with self.subTest(row["name"]):
                self.assertEqual(encode(Message(**value)), frame)
                names.add(row["name"])
        self.assertGreater(len(names), 60)

    def test_values_that_are_not_plain_json_leave_as_recorded(self) -> None:
        by_name = {row["name"]: row for row in rows("frames.jsonl")}
        for name, value in RECORDED_VALUES.items():
            for row_name in (f"request_{name}", f"response_{name}"):
                row = by_name.get(row_name)
                if row is None or row_name in ("request_kinds", "response_echo_decimal"):
                    continue  # the one carries no value, in the other the decimals have become floats
                with self.subTest(row_name):
                    body = frame_bytes(row)[HEADER.size :].decode("ascii")
                    self.assertIn(to_json(value), body)


class Values(unittest.TestCase):
    def test_values_without_a_form_are_refused(self) -> None:
        circle: list[Any] = []
        circle.append(circle)
        for value in (b"\xff", {(1, 2): 3}, {b"\xff": 1}, circle):
            with self.subTest(type(value).__name__), self.assertRaises(Exception):
                encode(Message("response", "", value))

    def test_bytes_are_read_at_any_depth(self) -> None:
        message = decode(frame_of('{"msg_type":"push","request_id":"","timestamp":"",'
                                  '"data":{"a":[{"b":{"__bytes__":"00 FF","x":1}}]}}')[4:])
        self.assertEqual(message.data, {"a": [{"b": b"\x00\xff"}]})

    def test_a_tag_on_the_outermost_object_and_other_misfits_are_malformed(self) -> None:
        envelope = '"request_id":"","data":null,"timestamp":""'
        for body in (
            '{"__bytes__":"00","msg_type":"push",%s}' % envelope,
            '{"msg_type":["push"],%s}' % envelope,
            '{"msg_type":"push","request_id":"","timestamp":"","data":%s}' % ("[" * 100_000 + "]" * 100_000),
            '{"msg_type":"push","request_id":"","timestamp":"","data":%s}' % ("9" * 5000),
        ):
            with self.subTest(body[:40]), self.assertRaises(MalformedFrame):
                decode(body.encode())

    def test_a_timestamp_loses_its_fraction_when_that_is_zero(self) -> None:
        self.assertEqual(MOMENT.isoformat(), "2024-01-02T03:04:05.000006")
        self.assertRegex(Message("push").timestamp, f"^{TIMESTAMP.pattern}$")

    def test_endpoints_are_paths_or_addresses(self) -> None:
        self.assertEqual(tcp_address("127.0.0.1:80"), ("127.0.0.1", 80))
        self.assertEqual(tcp_address("[::1]:80"), ("::1", 80))
        for path in ("/tmp/a.sock", "./a:80", "a.sock", "/tmp/a:80"):
            self.assertIsNone(tcp_address(path))


class ServerVectors(PeerCase):
    async def test_every_row(self) -> None:
        vectors = [row for row in rows("vectors.jsonl") if row["to"] == "server"]
        self.assertGreater(len(vectors), 50)
        async with self.serving():
            neighbour = await self.open()
            for row in vectors:
                with self.subTest(row["name"]):
                    await self.check(row)
            await neighbour.send(request_frame("echo", 1))
            answer = await neighbour.message()
            self.assertEqual(answer and answer["data"], {"echo": 1})

    async def check(self, row: dict[str, Any]) -> None:
        peer = await self.open(greeted=False)
        greeting = await peer.message()
        assert greeting is not None
        self.assertEqual(list(greeting), KEYS)
        self.assertEqual((greeting["msg_type"], greeting["request_id"], greeting["error"]), ("response", "", None))
        self.assertEqual(list(greeting["data"]), ["account_id", "conn_id"])
        self.assertEqual(greeting["data"]["account_id"], "acc1")
        self.assertRegex(greeting["data"]["conn_id"], "^[0-9a-f]{8}$")

        await peer.send(bytes.fromhex(row["hex"]))
        if row["outcome"] == "closed":
            self.assertIsNone(await peer.body())
            return
        if row["outcome"] == "reply":
            body = await peer.body()
            assert body is not None
            reply = json.loads(body)
            self.assertRegex(reply["timestamp"], f"^{TIMESTAMP.pattern}$")
            # The text too, but for the time: key order, separators, escapes.
            expected = to_json({**row["reply"], "timestamp": reply["timestamp"]})
            self.assertEqual(body, expected)
        else:
            self.assertEqual(row["outcome"], "silence")
        # Silent or not, the connection goes on, and nothing else was sent before this answer.
        await peer.send(request_frame("echo", "still here", "after"))
        after = await peer.message()
        self.assertEqual(after and after["request_id"], "after")
        await peer.close()


class ClientVectors(PeerCase):
    async def test_every_row(self) -> None:
        vectors = [row for row in rows("vectors.jsonl") if row["to"] == "client"]
        self.assertGreater(len(vectors), 20)
        for row in vectors:
            with self.subTest(row["name"]):
                await self.check(row)

    async def check(self, row: dict[str, Any]) -> None:
        requests: list[dict[str, Any]] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = RawPeer(reader, writer)
            await peer.send(frame_of(row["greeting"]))
            message = await peer.message()
            if message is None:
                return  # the greeting already made the client leave
            requests.append(message)
            for body in row["bodies"]:
                await peer.send(frame_of(body.replace("@ID@", message["request_id"])))
            with suppress(OSError):
                await reader.read()
            writer.close()

        server = await asyncio.start_unix_server(serve, self.path)
        pushes: list[list[Any]] = []
        client = SocketClient(
            self.path, "acc1", lambda push_type, data: pushes.append([push_type, data]), auto_reconnect=False
        )
        try:
            self.assertEqual(await client.connect(), row["connect"])
            result = await client.request("ask", {"q": 1}, timeout=0.2)
            self.assertEqual(result, row["result"])
            self.assertEqual(pushes, row["pushes"])
            self.assertEqual(client.is_connected(), row["still_connected"])
        finally:
            await client.disconnect()
            server.close()
        for message in requests:
            self.assertEqual(list(message), KEYS)
            self.assertEqual((message["msg_type"], message["error"]), ("request", None))
            self.assertEqual(message["data"], {"type": "ask", "data": {"q": 1}})
            self.assertRegex(message["request_id"], f"^{UUID_V4.pattern}$")


class ServerHabits(PeerCase):
    async def test_frames_of_one_connection_are_handled_one_after_another(self) -> None:
        async def nap(data: Any) -> Any:
            await asyncio.sleep(data)
            return data

        async with self.serving() as server:
            server.register_handler("nap", nap)
            busy, other = await self.open(), await self.open()
            started = time.monotonic()
            await busy.send(
                request_frame("nap", 0.3, "slow") + request_frame("nap", 0, "quick") + encode(Message("heartbeat"))
            )
            await other.send(request_frame("nap", 0, "elsewhere"))
            self.assertEqual((await other.message() or {})["request_id"], "elsewhere")
            self.assertLess(time.monotonic() - started, 0.25)
            order = [await busy.message() or {} for _ in range(3)]
            self.assertGreaterEqual(time.monotonic() - started, 0.29)
            self.assertEqual([m["request_id"] for m in order], ["slow", "quick", ""])
            self.assertEqual(order[2]["msg_type"], "heartbeat")

    async def test_failures_and_odd_results(self) -> None:
        def fail(error: BaseException) -> Any:
            async def handler(_data: Any) -> Any:
                raise error

            return handler

        async with self.serving() as server:
            for name, handler in {
                "value": fail(ValueError("boom")),
                "key": fail(KeyError("k")),
                "empty": fail(RuntimeError()),
                "plain": lambda data: [data],
                "none": lambda data: None,
                "lambda": lambda data: asyncio.sleep(0),
                "cancel": fail(asyncio.CancelledError()),
                "raw": lambda data: b"\xff",
            }.items():
                server.register_handler(name, handler)
            peer = await self.open()
            for name, data, error in (
                ("value", None, "boom"),
                ("key", None, "'k'"),
                ("empty", None, ""),
                ("plain", [0], None),
                ("none", None, None),
                ("__proto__", None, "Unknown request type"),
            ):
                await peer.send(request_frame(name, 0))
                answer = await peer.message() or {}
                self.assertEqual((answer["data"], answer["error"]), (data, error), name)
            await peer.send(request_frame("lambda"))
            self.assertIn("coroutine object", (await peer.message() or {})["data"])
            for name in ("cancel", "raw"):
                peer = await self.open()
                await peer.send(request_frame(name))
                self.assertIsNone(await peer.body(), name)

    async def test_a_half_closed_client_still_gets_its_answer(self) -> None:
        async with self.serving():
            peer = await self.open()
            await peer.send(request_frame("echo", 1))
            peer.writer.write_eof()
            self.assertEqual((await peer.message() or {})["data"], {"echo": 1})
            self.assertIsNone(await peer.body())

    async def test_cuts_who_sends_no_heartbeat_whatever_else_is_sent(self) -> None:
        async with self.serving(heartbeat_timeout=0.3, look_interval=0.05):
            asking, beating = await self.open(), await self.open()
            started = time.monotonic()
            answers = 0
            with self.assertRaises(OSError):
                while True:
                    await beating.send(encode(Message("heartbeat")))
                    await beating.message()
                    await asking.send(request_frame("echo"))
                    if await asking.body() is None:
                        raise OSError
                    answers += 1
                    await asyncio.sleep(0.02)
            self.assertGreater(answers, 3)
            self.assertLess(0.25, time.monotonic() - started)
            self.assertLess(time.monotonic() - started, 1)
            await beating.send(request_frame("echo"))
            self.assertIsNotNone(await beating.body())

    async def test_pushes_go_to_everyone_with_one_id(self) -> None:
        async with self.serving() as server:
            self.assertFalse(await server.send_push("tick", 0))
            one, two = await self.open(), await self.open()
            self.assertTrue(await server.send_push("tick", {"n": 1}))
            first, second = await one.message() or {}, await two.message() or {}
            self.assertEqual(first, second)
            self.assertEqual((first["msg_type"], first["data"]), ("push", {"type": "tick", "data": {"n": 1}}))
            self.assertRegex(first["request_id"], f"^{UUID_V4.pattern}$")

    async def test_a_push_that_cannot_be_encoded_deadens_every_connection(self) -> None:
        async with self.serving(look_interval=0.2) as server:
            ran: list[Any] = []
            server.register_handler("run", ran.append)
            asking, silent = await self.open(), await self.open()
            self.assertFalse(await server.send_push("tick", b"\xff"))
            self.assertFalse(await server.send_push("tick", 1))
            await asking.send(request_frame("run", 1))
            self.assertIsNone(await asking.body())
            self.assertEqual(ran, [1])
            self.assertIsNone(await silent.body())

    async def test_one_client_that_does_not_read_holds_up_a_broadcast(self) -> None:
        async with self.serving() as server:
            await self.open()  # reads its greeting and nothing more
            reading = await self.open()
            push = asyncio.create_task(server.send_push("big", "x" * 8_000_000))
            with self.assertRaises(asyncio.TimeoutError):
                await reading.body(timeout=0.3)
            push.cancel()

    async def test_stopping_cuts_or_waits(self) -> None:
        async with self.serving() as server:
            peer = await self.open()
            await server.stop()
            self.assertIsNone(await peer.body())
            self.assertFalse(os.path.exists(self.path))
        async with self.serving(stop_waits=True) as server:
            peer = await self.open()
            stopping = asyncio.create_task(server.stop())
            await asyncio.sleep(0.05)
            with self.assertRaises(OSError):
                await dial(self.path)
            await peer.send(request_frame("echo", 1))
            self.assertEqual((await peer.message() or {})["data"], {"echo": 1})
            self.assertIsNone(await peer.body())
            await stopping

    async def test_handlers_of_an_instance_and_the_counters(self) -> None:
        class Desk:
            @request("sync")
            def first(self, data: Any) -> Any:
                return ["sync", data]

            @request("async")
            async def _req_second(self, data: Any) -> Any:
                return ["async", data]

            @request("hidden")
            def _third(self, data: Any) -> Any:
                return data

        async with self.serving() as server:
            server.register_handlers_from_instance(Desk())
            peer = await self.open()
            answers = []
            for name in ("sync", "async", "hidden"):
                await peer.send(request_frame(name, 1))
                answers.append(((await peer.message()) or {})["data"])
            self.assertEqual(answers, [["sync", 1], ["async", 1], None])
            await peer.send(encode(Message("heartbeat")))
            await peer.message()
            self.assertEqual(
                server.get_stats(),
                {
                    "total_connections": 1,
                    "messages_received": 4,
                    "messages_sent": 3,
                    "errors": 0,
                    "active_connections": 1,
                    "total_clients": 1,
                },
            )


class ClientHabits(PeerCase):
    async def test_calls_over_both_kinds_of_endpoint(self) -> None:
        for endpoint in (self.path, "127.0.0.1:0"):
            async with self.serving(endpoint) as server:
                client = SocketClient(server.address or "", "acc1", auto_reconnect=False)
                self.assertTrue(await client.connect())
                big = "汉" * 1_000_000
                self.assertEqual(await client.request("echo", big), {"echo": big})
                many = await asyncio.gather(*(client.request("echo", n) for n in range(200)))
                self.assertEqual(many, [{"echo": n} for n in range(200)])
                self.assertEqual((await client.exchange("nope", 1)).error, "Unknown request type")
                self.assertIsNone(await client.request("nope", 1))
                self.assertIsNone(await client.request("echo", b"\xff"))
                self.assertTrue(client.is_connected())
                await client.disconnect()
                self.assertIsNone(await client.request("echo", 1))

    async def test_pending_requests_sit_out_their_timeout_when_the_server_goes(self) -> None:
        async with self.serving() as server:
            async def hang(_data: Any) -> None:
                await asyncio.sleep(2)

            server.register_handler("hang", hang)
            lost = asyncio.Event()
            client = await self.connected()
            client.set_disconnect_callback(lost.set)
            started = time.monotonic()
            asking = asyncio.create_task(client.request("hang", None, timeout=0.5))
            await self.eventually(lambda: server.get_stats()["messages_received"] == 1)
            server.drop_connections()
            await asyncio.wait_for(lost.wait(), 2)
            self.assertIsNone(await asking)
            self.assertGreaterEqual(time.monotonic() - started, 0.49)

    async def test_pushes_hold_up_responses_and_a_request_inside_one_times_out(self) -> None:
        async with self.serving() as server:
            client = await self.connected()
            inside: list[Any] = []
            seen: list[Any] = []
            client.on_data_callback = lambda push_type, data: seen.append((push_type, data))

            @client.on_push("tick")
            async def on_tick(_type: str, _data: Any) -> None:
                inside.append(await client.request("echo", 1, timeout=0.2))

            await client.request("echo", 0)
            await server.send_push("tick", 1)
            await server.send_push("other", 2)
            started = time.monotonic()
            self.assertEqual(await client.request("echo", 3), {"echo": 3})
            self.assertGreaterEqual(time.monotonic() - started, 0.15)
            self.assertEqual((inside, seen), ([None], [("other", 2)]))

    async def test_a_bad_frame_leaves_the_old_socket_open_beside_the_new_one(self) -> None:
        async with self.serving() as server:
            client = await self.connected(auto_reconnect=True, reconnect_interval=0.05, look_interval=0.02)
            await client.request("echo", 0)
            await server.send_bytes(frame_of("nope"))
            await self.eventually(lambda: server.get_connection_count() == 2 and client.is_connected())
            self.assertEqual(await client.request("echo", 1), {"echo": 1})
            client.stop_auto_reconnect()

    async def test_every_quick_reconnect_adds_a_heartbeat_loop(self) -> None:
        beats = 0

        def count(_conn_id: str, message: Message) -> None:
            nonlocal beats
            beats += message.msg_type == "heartbeat"

        async with self.serving(observer=count) as server:
            client = await self.connected(
                heartbeat_interval=0.3, auto_reconnect=True, reconnect_interval=0.02, look_interval=0.01
            )
            for dropped in range(2):
                await self.eventually(lambda: server.get_stats()["total_connections"] == dropped + 1)
                server.drop_connections()
            await self.eventually(lambda: server.get_stats()["total_connections"] == 3)
            beats = 0
            await asyncio.sleep(0.75)
            self.assertGreaterEqual(beats, 6)  # three loops, two or three beats each
            client.stop_auto_reconnect()

    async def test_disconnecting_alone_does_not_stop_reconnecting(self) -> None:
        async with self.serving():
            client = await self.connected(auto_reconnect=True, reconnect_interval=0.02, look_interval=0.01)
            await client.disconnect()
            await self.eventually(client.is_connected)
            client.stop_auto_reconnect()
            await client.disconnect()
            await asyncio.sleep(0.1)
            self.assertFalse(client.is_connected())

    async def test_attempts_are_spaced_by_the_backoff_plus_the_interval_and_end(self) -> None:
        client = SocketClient(
            self.path, "acc1", reconnect_interval=0.1, max_reconnect_attempts=3, look_interval=0.01
        )
        tries: list[float] = []

        async def failing() -> bool:
            tries.append(time.monotonic())
            return False

        client._open = failing  # type: ignore[method-assign]
        started = time.monotonic()
        await client._reconnect()
        for seen, expected in zip([t - started for t in tries], (0.1, 0.35, 0.675), strict=True):
            self.assertAlmostEqual(seen, expected, delta=0.08)

    async def test_a_failed_first_connect_starts_no_reconnecting(self) -> None:
        client = SocketClient(self.path, "acc1", look_interval=0.01)
        self.assertFalse(await client.connect(retry_interval=0.01, max_retries=2))
        self.assertIsNone(client._reconnecting)

    async def test_health_is_true_when_not_connected(self) -> None:
        self.assertTrue(await SocketClient(self.path, "acc1").health_check())

    async def test_helpers(self) -> None:
        backoff = BackoffStrategy(3, 60, 1.5)
        self.assertEqual([round(backoff.get_delay(), 1) for _ in range(9)], [3, 4.5, 6.8, 10.1, 15.2, 22.8, 34.2, 51.3, 60])
        self.assertEqual([BackoffStrategy(9, 2).get_delay()], [9])

        async def answer(value: Any) -> Any:
            if isinstance(value, Exception):
                raise value
            return value

        self.assertTrue(await HealthChecker().check(lambda: answer(False)))
        checker = HealthChecker(interval=60)
        self.assertFalse(await checker.check(lambda: answer(ValueError())))
        self.assertFalse(await checker.check(lambda: answer(True)))  # remembered
        self.assertFalse(await HealthChecker().check(lambda: 5))  # type: ignore[arg-type,return-value]


if __name__ == "__main__":
    # Sockets left open and coroutines never awaited are habits of the peers, so not worth a warning here.
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # the test cases' loop reports every slow step
    unittest.main(warnings="ignore")
