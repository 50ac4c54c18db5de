"""Losses, restarts, ends and storms: every call ends, and nothing is left behind. `Case` looks for leaks."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import unittest
from typing import Any

from support import HEAVY, Case, RawPeer, frame, message

from nestjs_unix_socket import (
    ClientClosedError,
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    NotConnectedError,
    RequestTimeoutError,
    SocketClient,
    SocketServer,
    UnixSocketError,
)


async def echo(data: Any) -> Any:
    return data


async def sleep(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


class Losses(Case):
    async def test_a_lost_connection_fails_its_calls_at_once_and_comes_back(self) -> None:
        server = await self.serve({"echo": echo, "sleep": sleep})
        client = await self.client()
        events: list[str] = []
        client.set_connect_callback(lambda: events.append("up"))
        client.set_disconnect_callback(lambda: events.append("down"))
        calls = [asyncio.ensure_future(client.request("sleep", 60, 60)) for _ in range(10)]
        await self.until(lambda: server.get_stats()["running_requests"] == 10)
        await server.stop(0)
        for call in calls:
            with self.assertRaises(ConnectionLostError) as caught:
                await call
            self.assertEqual(caught.exception.delivery, "sentNoReply")
        waiting = asyncio.ensure_future(client.request("echo", "waited", 10))
        await asyncio.sleep(0.05)
        await server.listen()
        self.assertEqual(await waiting, "waited")
        await self.until(lambda: events == ["down", "up"])

    async def test_events_run_in_their_turn_when_their_client_has_gone_and_requests_do_not(self) -> None:
        ran: list[Any] = []
        server = await self.serve({"sleep": sleep, "note": ran.append}, handling="sequential")
        peer = await self.raw()
        hello = {"name": "by hand", "account_id": "", "caps": []}
        await peer.send(
            message("heartbeat", hello=hello),
            message("request", "1", {"type": "sleep", "data": 60}),
            *(message(kind, "2", {"type": "note", "data": kind}) for kind in ("push", "request", "push")),
        )
        await self.until(lambda: server.get_stats()["running_requests"] == 4)
        await peer.close()
        await self.until(lambda: len(ran) == 2)
        self.assertEqual(ran, ["push", "push"])

    async def test_a_stopping_server_answers_what_runs_and_its_client_moves_on(self) -> None:
        server = await self.serve({"sleep": sleep, "echo": echo})
        client = await self.client()
        running = asyncio.ensure_future(client.request("sleep", 0.1))
        await self.until(lambda: server.get_stats()["running_requests"] == 1)
        stopping = asyncio.ensure_future(server.stop(5))
        await asyncio.sleep(0)
        waiting = asyncio.ensure_future(client.request("echo", 2))
        self.assertEqual(await running, 0.1)
        await stopping
        await self.serve({"echo": echo})
        self.assertEqual(await waiting, 2)

    async def test_calls_without_a_connection_end_too(self) -> None:
        client = SocketClient(self.path)
        with self.assertRaises(NotConnectedError):
            await client.request("echo")
        with self.assertRaises(ConnectError) as caught:
            await client.connect(0.01, 2)
        self.assertEqual((caught.exception.code, caught.exception.delivery), ("SOCKET_NOT_FOUND", "notSent"))
        connecting = asyncio.ensure_future(client.connect(0.01, 1000))
        await asyncio.sleep(0)
        with self.assertRaises(RequestTimeoutError) as late:
            await client.request("echo", None, 0.05)
        self.assertEqual(late.exception.delivery, "notSent")
        waiting = asyncio.ensure_future(client.request("echo"))
        await asyncio.sleep(0)
        await client.disconnect()
        with self.assertRaises(ClientClosedError):
            await connecting
        with self.assertRaises(UnixSocketError):
            await waiting

    async def test_a_server_that_does_not_greet_or_falls_silent_is_left(self) -> None:
        async def deaf(peer: RawPeer) -> None:
            await peer.reader.read()

        await self.raw_server(deaf)
        client = SocketClient(self.path, connect_timeout=0.05)
        with self.assertRaises(ConnectTimeoutError):
            await client.connect(0.01, 1)

    async def test_silence_and_half_frames_end_a_connection(self) -> None:
        server = await self.serve(protocols=("v2",), heartbeat_timeout=0.2, frame_timeout=0.1)
        silent, half = await self.raw(), await self.raw()
        await half.next()
        await half.send(frame(message("heartbeat"))[:-3])
        self.assertEqual(len(await silent.until_closed()), 1)
        self.assertEqual(await half.until_closed(), [])
        codes = server.get_stats()["errors_by_code"]
        self.assertEqual(codes, {"PEER_SILENT": 1, "FRAME_TIMEOUT": 1})

        other = await self.serve(path=self.path + "2", heartbeat_timeout=0.2)
        client = await self.client(self.path + "2", heartbeat_interval=0.05)
        await asyncio.sleep(0.4)
        self.assertTrue(client.is_connected())
        self.assertEqual(other.get_connection_count(), 1)

    async def test_hostile_bytes_hurt_only_who_sent_them(self) -> None:
        server = await self.serve({"echo": echo}, max_frame_bytes=65_536)
        client = await self.client()
        randomness = random.Random(7)
        for data in (
            b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n", frame("[" * 20_000), frame("{}"), frame("\x00"),
            frame("9" * 5000), b"\0\0\0\0", *(randomness.randbytes(200) for _ in range(20)),
        ):  # fmt: skip
            peer = await RawPeer.connect(self.path)
            await peer.next()
            await peer.send(data)
            peer.writer.write_eof()
            await peer.until_closed()
            await peer.close()
        self.assertEqual(await client.request("echo", 1), 1)
        await self.until(lambda: server.get_connection_count() == 1)

    async def test_a_half_closed_plain_client_still_gets_its_answer(self) -> None:
        await self.serve({"sleep": sleep})
        peer = await self.raw()
        await peer.next()
        await peer.send(message("request", "1", {"type": "sleep", "data": 0.05}))
        peer.writer.write_eof()
        answers = [answer for answer in await peer.until_closed() if answer["msg_type"] == "response"]
        self.assertEqual([answer["data"] for answer in answers], [0.05])

    async def test_start_serves_until_stopped_and_leaves_no_file(self) -> None:
        server = SocketServer(self.path)
        serving = asyncio.ensure_future(server.start())
        await self.until(lambda: os.path.exists(self.path))
        await server.stop()
        await serving
        self.assertEqual(os.listdir(os.path.dirname(self.path)), [])
        serving = asyncio.ensure_future(server.start())
        await self.until(lambda: os.path.exists(self.path))
        serving.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await serving
        self.assertFalse(os.path.exists(self.path))

    async def test_a_dead_socket_is_replaced_and_a_file_is_not(self) -> None:
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(self.path)
        dead.close()
        await (await self.serve()).stop()
        with open(self.path, "w"):
            pass
        with self.assertRaises(OSError):
            await SocketServer(self.path).listen()
        os.unlink(self.path)


class Storms(Case):
    async def test_very_many_requests_at_once(self) -> None:
        await self.serve({"echo": echo})
        client = await self.client(request_timeout=120)
        wanted = range(1000 * HEAVY)
        self.assertEqual(await asyncio.gather(*(client.request("echo", n) for n in wanted)), list(wanted))
        self.assertEqual(client.get_stats()["pending_requests"], 0)

    async def test_cancellation_storm(self) -> None:
        server = await self.serve({"sleep": sleep, "echo": echo})
        client = await self.client(request_timeout=120)
        randomness = random.Random(1)
        for _ in range(2 * HEAVY):
            tasks = [asyncio.ensure_future(client.request("sleep", 60)) for _ in range(200)]
            await asyncio.sleep(randomness.random() / 50)
            for task in tasks:
                task.cancel()
                if randomness.random() < 0.3:
                    await asyncio.sleep(0)
            await asyncio.wait(tasks)
        self.assertEqual(await client.request("echo", 1), 1)
        await self.until(lambda: server.get_stats()["running_requests"] == 0)

    async def test_restarts_under_load(self) -> None:
        server = await self.serve({"echo": echo})
        client = await self.client(request_timeout=60, max_reconnect_delay=0.05)
        is_over = False
        outcomes = {"answered": 0, "lost": 0}

        async def call() -> None:
            while not is_over:
                try:
                    await client.request("echo", 1)
                    outcomes["answered"] += 1
                except (ConnectionLostError, NotConnectedError):
                    outcomes["lost"] += 1
                    await asyncio.sleep(0.005)

        callers = [asyncio.ensure_future(call()) for _ in range(10)]
        for number in range(4 * HEAVY):
            before = outcomes["answered"]
            await self.until(lambda: outcomes["answered"] > before + 20)
            await server.stop(0 if number % 2 else 1)
            await server.listen()
        is_over = True
        await asyncio.gather(*callers)
        self.assertEqual(client.get_stats()["pending_requests"], 0)


if __name__ == "__main__":
    unittest.main()
