"""Every recorded frame and vector, in both roles."""

from __future__ import annotations

import asyncio
import math
import unittest
from typing import Any, Literal

from support import Case, RawPeer, frame, message, rows

from nestjs_unix_socket import (
    ConnectionLostError,
    NotConnectedError,
    RemoteError,
    RequestTimeoutError,
    UnixSocketError,
)
from nestjs_unix_socket.codec import decode_json
from nestjs_unix_socket.frames import FrameReader

# Where our server does better than the recorded one. Everywhere else it has to do the same.
SERVER_BETTER: dict[str, Any] = {
    "type_array": {"data": None, "error": "Unknown request type"},
    "tagged_bytes_not_utf8": {"data": {"echo": {"__bytes__": "ff"}}},
    "tagged_bytes_utf8": {"data": {"echo": {"__bytes__": "6162"}}},
    "tagged_bytes_with_others": {"data": {"echo": {"__bytes__": "6162"}}},
    "tagged_bytes_blank_upper": {"data": {"echo": {"__bytes__": "616a"}}},
}
# Where a request of the recorded client gave null for whatever went wrong.
CLIENT_ERRORS: dict[str, type[UnixSocketError]] = {
    "v2_error": RemoteError,
    "v2_error_and_data": RemoteError,
    "v2_error_type": RequestTimeoutError,
    "v2_object_id": ConnectionLostError,
    "v2_tagged_bytes_bad": ConnectionLostError,
    "v2_not_json": ConnectionLostError,
    "v2_unknown_msg_type": ConnectionLostError,
    "v2_missing_field": ConnectionLostError,
    "v1_frame_to_v2_client": ConnectionLostError,
    "v1_greeting_to_v2_client": NotConnectedError,
    "v1_error_null_data": RemoteError,
    "v1_error_with_data_message": RemoteError,
    "v1_error_later": RemoteError,
    "combined_greeting_v1_later": RemoteError,
    "v2_greeting_to_v1_client": NotConnectedError,
}
# Where the recorded client gave null for a result.
CLIENT_RESULTS: dict[str, Any] = {"v1_result_later": {"ok": 1}}
UNGREETED = {"v1_greeting_to_v2_client", "v2_greeting_to_v1_client"}
# A frame that is no object ends the connection, as it does in the second version.
V1_CLOSED = {"null"}


def meant(value: Any) -> Any:
    if isinstance(value, list):
        return [meant(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "$literal" in value:
        return None
    if "$long_string" in value:
        text = value["$long_string"]
        return text["starts"][0] * text["length_utf16"]
    if "__bytes__" in value:
        return bytes.fromhex(value["__bytes__"])
    return {key: meant(item) for key, item in value.items()}


class RecordedFrames(unittest.TestCase):
    def test_are_read_as_they_were_meant_at_any_cut(self) -> None:
        for row in rows("frames.jsonl"):
            with self.subTest(row["name"]):
                if row.get("hex") is None:
                    parts = row["rebuild"]
                    data = bytes.fromhex(parts["hex_head"] + parts["hex_unit"] * parts["times"] + parts["hex_tail"])
                else:
                    data = bytes.fromhex(row["hex"])
                for size in (len(data), max(1, len(data) // 3), 3 if len(data) < 5000 else 65_536):
                    reader = FrameReader()
                    chunks = [data[i : i + size] for i in range(0, len(data), size)]
                    bodies = [body for chunk in chunks for body in reader.feed(chunk)]
                    self.assertEqual([decode_json(body) for body in bodies], [meant(row["decoded"])])
                    self.assertFalse(reader.has_partial_frame)


class ServerVectors(Case):
    async def test_v2(self) -> None:
        await self.serve({"echo": lambda data: {"echo": data}}, protocols=("v2",))
        for row in rows("vectors.jsonl", version="v2", to="server"):
            with self.subTest(row["name"]):
                peer = await RawPeer.connect(self.path)
                greeting = await peer.next()
                self.assertEqual(greeting["data"]["account_id"], "acc1")
                better = SERVER_BETTER.get(row["name"])
                await peer.send(bytes.fromhex(row["hex"]))
                if row["outcome"] == "closed" and better is None:
                    self.assertEqual(await peer.until_closed(), [])
                else:
                    await peer.send(message("request", "last", {"type": "echo", "data": None}))
                    answers = []
                    while (answer := await peer.next())["request_id"] != "last":
                        answers.append(answer)
                    expected = row.get("reply") if better is None else {"request_id": "r1", "error": None, **better}
                    self.assertEqual(len(answers), 0 if expected is None else 1)
                    for answer in answers:
                        self.assertEqual({**answer, **(expected or {}), "timestamp": answer["timestamp"]}, answer)
                        self.assertLessEqual(
                            set(answer),
                            {"msg_type", "request_id", "data", "timestamp", "error", "error_detail"},
                        )
                await peer.close()

    async def test_v1_beside_v2(self) -> None:
        server = await self.serve({"echo": lambda data: {"echo": data}, "boom": self._boom})
        peer, other = await self.raw(), await self.raw()
        greeting = await peer.next()
        self.assertEqual((greeting["type"], greeting["account_id"]), ("register", "acc1"))
        await other.next()
        await other.send(message("heartbeat"))
        await other.next()
        server.push("early", 1)
        self.assertEqual((await peer.next())["msg_type"], "push")
        wrapped = await peer.next()
        self.assertEqual((wrapped["msg_type"], wrapped["type"], wrapped["data"]), ("heartbeat", "early", 1))
        await peer.send({"type": "ping", "request_id": "p", "data": {}})
        self.assertEqual((await peer.next())["data"], {"status": "ok"})
        await peer.send({"type": "echo", "request_id": "1", "data": [1]})
        self.assertEqual(
            await peer.next(),
            {"type": "response", "request_id": "1", "status": "success", "data": {"echo": [1]}, "message": ""},
        )
        await peer.send({"type": "boom", "request_id": "2", "data": None}, {"type": "echo"})
        failed = await peer.next()
        self.assertEqual((failed["status"], failed["message"], failed["data"]), ("error", "no", {"message": "no"}))
        server.push("late", {"x": 1})
        self.assertEqual(await peer.next(), {"type": "late", "account_id": "acc1", "data": {"x": 1}})
        self.assertEqual([(await other.next())["data"]["type"] for _ in range(2)], ["early", "late"])

    async def test_v1(self) -> None:
        await self.serve({"echo": lambda data: {"echo": data}}, protocols=("v1",))
        for row in rows("vectors.jsonl", version="v1", to="server"):
            with self.subTest(row["name"]):
                peer = await RawPeer.connect(self.path)
                await peer.next()
                await peer.send(bytes.fromhex(row["hex"]))
                if row["outcome"] == "closed" or row["name"] in V1_CLOSED:
                    self.assertEqual(await peer.until_closed(), [])
                else:
                    await peer.send({"type": "ping", "request_id": "last"})
                    answers = []
                    while (answer := await peer.next())["request_id"] != "last":
                        answers.append(answer)
                    reply = row.get("reply")
                    self.assertEqual([self._shape(answer) for answer in answers], [self._shape(reply)] if reply else [])
                await peer.close()

    @staticmethod
    def _shape(answer: dict[str, Any]) -> dict[str, Any]:
        """Failures have a text of our own, in the form that clients of both generations survive."""
        return {**answer, "message": "", "data": None} if answer["status"] == "error" else answer

    @staticmethod
    def _boom(_data: Any) -> None:
        raise ValueError("no")


class ClientVectors(Case):
    async def test_v2(self) -> None:
        for row in rows("vectors.jsonl", version="v2", to="client"):
            with self.subTest(row["name"]):
                await self._check(row, "v2", row["still_connected"])

    async def test_v1(self) -> None:
        kinds = ("v1-first", "v1-later")
        recorded = [row for kind in kinds for row in rows("vectors.jsonl", version=kind, to="client")]
        self.assertGreater(len(recorded), 10)
        for row in recorded:
            with self.subTest(row["name"]):
                # Whatever a recorded client died of, this one lives on.
                await self._check(row, "v1", row["name"] not in UNGREETED)

    async def _check(self, row: dict[str, Any], protocol: Literal["v1", "v2"], stays: bool) -> None:
        sent: list[dict[str, Any]] = []
        done = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = RawPeer(reader, writer)
            await peer.send(row["greeting"])
            if row["name"] not in UNGREETED:
                sent.append(await peer.next())
                await peer.send(*[frame(body.replace("@ID@", sent[0]["request_id"])) for body in row["bodies"]])
                await done.wait()
            await peer.close()

        path = f"{self.path}-{row['name'][:30]}"
        listener = await asyncio.start_unix_server(serve, path)
        from nestjs_unix_socket import SocketClient

        pushes: list[Any] = []
        client = SocketClient(
            path,
            "acc1",
            lambda kind, data: pushes.append([kind, data]),
            False,
            heartbeat_interval=0,
            protocol=protocol,
        )
        error: BaseException | None = None
        result: Any = None
        try:
            await client.connect(0.01, 1)
            result = await client.request("any", {"a": 1}, 0.1 if row["name"] == "v2_error_type" else 5)
        except UnixSocketError as failure:
            error = failure
        await asyncio.sleep(0)
        expected = CLIENT_ERRORS.get(row["name"])
        if row["name"] in UNGREETED:
            self.assertIsInstance(error, UnixSocketError)
        elif expected is not None:
            self.assertIsInstance(error, expected)
        else:
            self.assertIsNone(error)
            self.assertEqual(plain(result), CLIENT_RESULTS.get(row["name"], row["result"]))
        self.assertEqual(pushes, row["pushes"])
        self.assertEqual(client.is_connected(), stays)
        done.set()
        await client.disconnect()
        listener.close()
        await asyncio.sleep(0)

    async def test_v1_by_its_greeting(self) -> None:
        async def serve(peer: RawPeer) -> None:
            await peer.send({"type": "register", "account_id": "a", "data": {"account_id": "a"}})
            while True:
                request = await peer.next()
                answer = {"type": "response", "request_id": request["request_id"], "message": ""}
                if request["type"] == "fail":
                    await peer.send({**answer, "status": "error", "data": None, "message": "no"})
                else:
                    await peer.send({"type": "tick", "account_id": "a", "data": 1})
                    await peer.send({**answer, "status": "success", "data": request["data"]})

        await self.raw_server(serve)
        client = await self.client(account_id="a")
        pushes = client.pushes("tick")
        self.assertEqual(await client.request("echo", {"x": "é"}), {"x": "é"})
        self.assertEqual(await pushes.__anext__(), ("tick", 1))
        with self.assertRaisesRegex(RemoteError, "no"):
            await client.request("fail")
        self.assertTrue(await client.health_check())
        other = await self._refused()
        self.assertEqual(other.code, "REFUSED_BY_SERVER")

    async def _refused(self) -> UnixSocketError:
        from nestjs_unix_socket import SocketClient

        with self.assertRaises(UnixSocketError) as caught:
            await SocketClient(self.path, "another").connect(0.01, 1)
        return caught.exception


def plain(value: Any) -> Any:
    """Values as the recording wrote them."""
    if isinstance(value, bytes):
        return {"__bytes__": value.hex()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    unittest.main()
