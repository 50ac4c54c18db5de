"""Calls, streams, cancellation, events and pushes between a client and a server of this package."""

from __future__ import annotations

import asyncio
import unittest
from collections.abc import AsyncIterator
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

from support import Case, message

from nestjs_unix_socket import (
    EncodeError,
    FrameTooLargeError,
    MessageBody,
    MessageProtocol,
    RefusedError,
    RemoteError,
    RequestContext,
    RequestTimeoutError,
    SocketServer,
    StreamOverflowError,
    create_push,
    create_request,
    request,
)


async def echo(data: Any) -> Any:
    return data


async def count(to: int) -> AsyncIterator[int]:
    for number in range(to):
        yield number


class Endless:
    """A handler that never ends by itself, and what became of it."""

    def __init__(self) -> None:
        self.started = 0
        self.cancelled = 0

    async def __call__(self, _data: Any) -> None:
        self.started += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def stream(self, _data: Any) -> AsyncIterator[int]:
        self.started += 1
        try:
            number = 0
            while True:
                yield number
                number += 1
                await asyncio.sleep(0)
        finally:
            self.cancelled += 1


class Calls(Case):
    async def test_values_survive_the_way_there_and_back(self) -> None:
        await self.serve({"echo": echo})
        client = await self.client()
        for value in [None, 0, "", [], {}, 2**80, -(10**30), 1.5, "\ud83d", "你好😀", {"a": b"\xff\x00", "b": [b""]}]:
            self.assertEqual(await client.request("echo", value), value)
        self.assertEqual(await client.request("echo", float("nan")), None)
        self.assertEqual(await client.request("echo", [float("inf"), Decimal("1.10"), (1, 2)]), [None, 1.1, [1, 2]])
        moment = datetime(2024, 1, 2, 3, 4, 5, 6, timezone.utc)
        self.assertEqual(datetime.fromisoformat(await client.request("echo", moment)), moment)
        self.assertEqual(await client.request("echo", date(2024, 1, 2)), "2024-01-02")

    async def test_what_cannot_be_sent_fails_alone(self) -> None:
        circular: list[Any] = []
        circular.append(circular)
        deep: list[Any] = []
        for _ in range(5000):
            deep = [deep]
        await self.serve({"echo": echo, "bad": lambda _: object(), "large": lambda _: "x" * 5000}, max_frame_bytes=4096)
        client = await self.client()
        for value in (circular, deep, object(), {"__bytes__": "00"}, {(1, 2): 3}):
            with self.assertRaises(EncodeError) as caught:
                await client.request("echo", value)
            self.assertEqual(caught.exception.delivery, "notSent")
        with self.assertRaises(FrameTooLargeError):
            await client.request("echo", "x" * 5000)
        for name, code in (("bad", "UNENCODABLE_VALUE"), ("large", "FRAME_TOO_LARGE")):
            with self.assertRaises(RemoteError) as remote:
                await client.request(name)
            self.assertEqual((remote.exception.code, remote.exception.delivery), (code, "replied"))
        self.assertEqual(await client.request("echo", 1), 1)

    async def test_errors_arrive_as_errors(self) -> None:
        class Odd(Exception):
            code = "ODD"
            details = {"at": 3}

        async def fail(data: Any) -> None:
            raise Odd(data)

        def empty(_data: Any) -> None:
            raise KeyError

        await self.serve({"fail": fail, "empty": empty})
        client = await self.client()
        with self.assertRaises(RemoteError) as caught:
            await client.request("fail", "text")
        error = caught.exception
        self.assertEqual((error.message, error.code, error.details), ("text", "ODD", {"at": 3}))
        with self.assertRaisesRegex(RemoteError, "KeyError"):
            await client.request("empty")
        for name in ("nope", "__proto__", ""):
            with self.assertRaisesRegex(RemoteError, "^Unknown request type$") as unknown:
                await client.request(name)
            self.assertEqual(unknown.exception.code, "UNKNOWN_PATTERN")

    async def test_marked_methods_are_registered_and_properties_not_touched(self) -> None:
        class Handlers:
            @property
            def trap(self) -> None:
                raise AssertionError

            @request("twice")
            async def twice(self, data: int) -> int:
                return data * 2

            @request("seen")
            def _req_seen(self, _data: Any, context: RequestContext) -> Any:
                return [context.type, dict(context.meta), context.connection.is_upgraded]

        server = await self.serve()
        server.register_handlers_from_instance(Handlers())
        client = await self.client()
        self.assertEqual(await client.request("twice", 4), 8)
        self.assertEqual(await client.request("seen", None, meta={"a": "b"}), ["seen", {"a": "b"}, True])

    async def test_slow_handlers_hold_up_nobody_unless_told_to(self) -> None:
        for handling in ("concurrent", "sequential"):
            release = asyncio.Event()

            async def hold(_data: Any) -> str:
                await release.wait()
                return "held"

            path = f"{self.path}.{handling[0]}"
            server = await self.serve({"echo": echo, "hold": hold}, path=path, handling=handling)
            client = await self.client(path)
            held = asyncio.ensure_future(client.request("hold"))
            quick = asyncio.ensure_future(client.request("echo", 1))
            if handling == "concurrent":
                await quick
            self.assertTrue(await client.health_check())
            self.assertFalse(held.done())
            self.assertEqual(quick.done(), handling == "concurrent")
            release.set()
            self.assertEqual([await held, await quick], ["held", 1])
            self.assertEqual(server.get_stats()["running_requests"], 0)

    async def test_a_timeout_and_a_cancelled_task_cancel_the_handler(self) -> None:
        endless = Endless()
        await self.serve({"endless": endless})
        client = await self.client(request_timeout=0.05)
        for timeout in (None, 0.05):
            with self.assertRaises(RequestTimeoutError) as caught:
                await client.request("endless", None, timeout)
            self.assertEqual(caught.exception.delivery, "sentNoReply")
        task = asyncio.ensure_future(client.request("endless", None, 10))
        await self.until(lambda: endless.started == 3)
        task.cancel()
        await self.until(lambda: endless.cancelled == 3)
        other = await self.client()
        lost = asyncio.ensure_future(other.request("endless"))
        await self.until(lambda: endless.started == 4)
        await other.disconnect()
        await self.until(lambda: endless.cancelled == 4)
        self.assertIsNotNone(lost.exception())
        self.assertEqual(client.get_stats()["pending_requests"], 0)

    async def test_a_passed_deadline_is_refused_and_a_passing_one_cancels(self) -> None:
        endless = Endless()
        await self.serve({"endless": endless})
        peer = await self.raw()
        await peer.next()
        call = {"type": "endless", "data": None}
        await peer.send(message("request", "1", call, deadline_ms=0), message("request", "2", call, deadline_ms=20))
        answer = await peer.next()
        self.assertEqual((answer["request_id"], answer["error_detail"]["code"]), ("1", "DEADLINE_EXCEEDED"))
        await self.until(lambda: endless.cancelled == 1)
        await peer.send(message("heartbeat", "", None, deadline_ms=10**5000 % 7))
        self.assertEqual((await peer.next())["msg_type"], "heartbeat")

    async def test_too_many_requests_are_refused_to_an_upgraded_client_and_wait_for_a_plain_one(self) -> None:
        release = asyncio.Event()
        endless = Endless()

        async def hold(data: Any) -> Any:
            await release.wait()
            return data

        await self.serve(
            {"endless": endless, "hold": hold}, max_concurrent_per_connection=2, max_queued_per_connection=2
        )
        client = await self.client()
        calls = [asyncio.ensure_future(client.request("hold", n)) for n in range(6)]
        await self.until(lambda: sum(call.done() for call in calls) == 2)
        for call in calls:
            if call.done():
                self.assertIsInstance(call.exception(), RefusedError)
        plain = await self.raw()
        await plain.next()
        await plain.send(*[message("request", str(n), {"type": "hold", "data": n}) for n in range(200)])
        await asyncio.sleep(0.02)
        release.set()
        self.assertEqual([(await plain.next())["data"] for _ in range(200)], list(range(200)))
        await asyncio.wait(calls)

    async def test_an_event_may_be_acknowledged(self) -> None:
        seen: list[Any] = []

        async def note(data: Any, context: RequestContext) -> None:
            if data == "bad":
                raise ValueError("no")
            seen.append((data, context.is_event))

        await self.serve({"note": note})
        client = await self.client()
        await client.emit("note", 1, meta={"a": "b"})
        await client.emit("nobody", 1)
        await client.emit("note", 2, acknowledged=True)
        self.assertEqual(seen, [(1, True), (2, False)])
        with self.assertRaises(RemoteError):
            await client.emit("note", "bad", acknowledged=True)

    async def test_messages_can_be_made_by_hand(self) -> None:
        made = create_request({"type": "echo", "data": [1]}, "7")
        data = MessageProtocol.encode(made)
        self.assertEqual(MessageProtocol.decode(data), made)
        self.assertIsNone(MessageProtocol.decode(data[:10]))
        self.assertEqual(MessageBody.from_dict(made.to_dict()), made)


class Streams(Case):
    async def test_give_every_value_then_their_end_or_error(self) -> None:
        async def breaks(_data: Any) -> AsyncIterator[int]:
            yield 1
            raise ValueError("broke")

        async def gives_stream(data: int) -> AsyncIterator[int]:
            return count(data)

        def plain_generator(to: int) -> Any:
            yield from range(to)

        await self.serve({"count": count, "breaks": breaks, "given": gives_stream, "plain": plain_generator})
        client = await self.client()
        for name in ("count", "given", "plain"):
            self.assertEqual([value async for value in client.stream(name, 100)], list(range(100)))
            self.assertEqual([value async for value in client.stream(name, 0)], [])
            self.assertEqual(await client.request(name, 3), 2)
        values = []
        with self.assertRaisesRegex(RemoteError, "broke"):
            async for value in client.stream("breaks"):
                values.append(value)
        self.assertEqual(values, [1])

    async def test_leaving_a_stream_cancels_its_handler(self) -> None:
        endless = Endless()
        await self.serve({"endless": endless.stream})
        client = await self.client()
        async for value in client.stream("endless"):
            if value == 5:
                break
        await self.until(lambda: endless.cancelled == 1)
        async with client.stream("endless") as stream:
            await stream.__anext__()
        await self.until(lambda: endless.cancelled == 2)
        with self.assertRaises(RequestTimeoutError):
            async for _ in client.stream("endless", timeout=0.05):
                pass
        await self.until(lambda: endless.cancelled == 3)
        with self.assertRaises(StreamOverflowError):
            async for _ in client.stream("endless", max_buffered=10):
                await asyncio.sleep(0.05)
        await self.until(lambda: endless.cancelled == 4)

    async def test_a_plain_client_gets_the_last_value(self) -> None:
        await self.serve({"count": count})
        peer = await self.raw()
        await peer.next()
        await peer.send(message("request", "1", {"type": "count", "data": 4}))
        self.assertEqual((await peer.next())["data"], 3)


class Pushes(Case):
    async def test_reach_all_one_or_a_room_in_order(self) -> None:
        async def join(data: str, context: RequestContext) -> str:
            context.connection.join(data)
            return context.connection.id

        server = await self.serve({"join": join})
        first, second = await self.client(), await self.client()
        first_id = await first.request("join", "a")
        await second.request("join", "b")
        pushes = [client.pushes(max_buffered=500) for client in (first, second)]
        for n in range(100):
            self.assertEqual(server.push("all", n).recipients, 2)
        self.assertTrue(await server.send_push("room", 1, room="b"))
        self.assertTrue(await server.send_push("one", 2, connection_id=first_id))
        self.assertFalse(await server.send_push("none", 3, room="c"))
        await server.send_message(create_push("last", None))
        for subscription, own in zip(pushes, ("one", "room")):
            got = [await subscription.__anext__() for _ in range(102)]
            self.assertEqual(got[:100], [("all", n) for n in range(100)])
            self.assertEqual([kind for kind, _ in got[100:]], [own, "last"])

    async def test_handlers_may_call_the_server_and_fail(self) -> None:
        server = await self.serve({"echo": echo})
        seen: list[Any] = []
        client = await self.client(on_data_callback=lambda kind, data: seen.append((kind, data)))

        @client.on_push("tick")
        async def on_tick(_kind: str, data: Any) -> None:
            seen.append(await client.request("echo", data))
            raise ValueError("logged")

        with self.assertLogs("nestjs_unix_socket"):
            server.push("tick", 1)
            server.push("other", 2)
            server.push("tick", 3)
            await self.until(lambda: len(seen) == 3)
        self.assertEqual(seen, [1, ("other", 2), 3])

    async def test_a_subscription_drops_the_oldest_beyond_its_bound(self) -> None:
        server = await self.serve()
        client = await self.client()
        subscription = client.pushes("tick", max_buffered=10)
        for n in range(100):
            server.push("tick", n)
        await self.until(lambda: subscription.dropped == 90)
        subscription.close()
        self.assertEqual([data async for _, data in subscription], list(range(90, 100)))

    async def test_a_client_that_does_not_read_delays_nobody(self) -> None:
        server = await self.serve(max_send_queue_bytes=1024 * 1024, slow_consumers="drop")
        deaf = await self.raw()
        await deaf.next()
        reader = await self.client()
        subscription = reader.pushes("big", max_buffered=1000)
        dropped = 0
        for n in range(100):
            dropped += server.push("big", "x" * 100_000).dropped
            await subscription.__anext__()
        self.assertGreater(dropped, 10)
        self.assertEqual(server.get_connection_count(), 2)
        server.push("big", "x", policy="disconnect")
        await self.until(lambda: server.get_connection_count() == 1)
        self.assertEqual(server.get_stats()["errors_by_code"], {"SEND_QUEUE_FULL": 1})


class Addresses(Case):
    async def test_tcp(self) -> None:
        server = await self.serve({"echo": echo, "count": count}, path="127.0.0.1:0")
        assert server.address is not None
        client = await self.client(server.address)
        self.assertEqual(await client.request("echo", "x"), "x")
        self.assertEqual([value async for value in client.stream("count", 3)], [0, 1, 2])

    async def test_a_path_belongs_to_one_server(self) -> None:
        server = await self.serve({"echo": echo})
        with self.assertRaises(OSError) as caught:
            await SocketServer(self.path).listen()
        self.assertEqual(getattr(caught.exception, "code"), "ADDRESS_IN_USE")
        self.assertEqual(await (await self.client()).request("echo", 1), 1)
        await server.stop()


if __name__ == "__main__":
    unittest.main()
