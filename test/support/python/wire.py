"""Bytes and messages of the MessageBody protocol, version 2, as Python peers write and read them.

A frame is four bytes of body length (unsigned, big-endian) and the body, one JSON object in UTF-8:

    {"msg_type": "request", "request_id": "…", "data": …, "timestamp": "…", "error": null}

Only the standard library is used. The JSON text is written by hand because the deployed peers' JSON
library differs from `json` where it shows on the wire: NaN leaves as null, decimals keep their digits,
bytes leave as text, and whatever else is not JSON leaves as its `str()`.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import struct
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Awaitable, Callable

HEADER = struct.Struct(">I")
MESSAGE_TYPES = ("heartbeat", "request", "response", "push", "error")
REQUIRED_KEYS = ("msg_type", "request_id", "data", "timestamp")


class MalformedFrame(ValueError):
    """The body is not a message. Peers end the connection without an answer."""


def local_timestamp() -> str:
    """Local time without a zone; `isoformat` leaves the fraction out when it is exactly 0."""
    return datetime.now().isoformat()


@dataclass
class Message:
    """One body. `data`, `request_id`, `timestamp` and `error` hold what was read: peers check no types.

    Peers ignore keys beyond the five. `extra` keeps those that were read, so that tests can see them.
    """

    msg_type: str
    request_id: Any = ""
    data: Any = None
    timestamp: Any = field(default_factory=local_timestamp)
    error: Any = None
    extra: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "msg_type": self.msg_type,
            "request_id": self.request_id,
            "data": self.data,
            "timestamp": self.timestamp,
            "error": self.error,
        }


def new_id() -> str:
    return str(uuid.uuid4())


def request_message(request_type: Any, data: Any, request_id: str | None = None) -> Message:
    return Message("request", request_id or new_id(), {"type": request_type, "data": data})


def response_message(request_id: Any, data: Any = None, error: str | None = None) -> Message:
    return Message("response", request_id, data, error=error)


def push_message(push_type: Any, data: Any) -> Message:
    return Message("push", new_id(), {"type": push_type, "data": data})


def heartbeat_message() -> Message:
    return Message("heartbeat")


# --- writing ---------------------------------------------------------------------------------------


def encode(message: Message) -> bytes:
    """The whole frame. Raises when `data` has no JSON form (bytes that are not UTF-8, tuple keys, cycles)."""
    body = to_json(message.as_dict()).encode("ascii")
    return HEADER.pack(len(body)) + body


def to_json(value: Any) -> str:
    pieces: list[str] = []
    _write(value, pieces.append)
    return "".join(pieces)


def _write(value: Any, put: Callable[[str], None]) -> None:
    # One function and so one stack frame for each level of nesting: a cycle or absurd depth ends in
    # RecursionError, which callers treat like any other value that cannot be encoded.
    if value is None:
        put("null")
    elif value is True:
        put("true")
    elif value is False:
        put("false")
    elif isinstance(value, str):
        put(json.dumps(value))
    elif isinstance(value, bytes):
        put(json.dumps(value.decode("utf-8")))
    elif isinstance(value, int):
        put(int.__repr__(value))
    elif isinstance(value, float):
        put(float.__repr__(value) if math.isfinite(value) else "null")
    elif isinstance(value, Decimal):
        put(str(value))  # a Decimal NaN really does leave as a bare NaN, which is not JSON
    elif isinstance(value, dict) or (isinstance(value, tuple) and hasattr(value, "_asdict")):
        entries = value if isinstance(value, dict) else value._asdict()
        separator = "{"
        for key, item in entries.items():
            put(separator + json.dumps(_key_text(key)) + ": ")
            _write(item, put)
            separator = ", "
        put("}" if entries else "{}")
    elif isinstance(value, (list, tuple)):
        separator = "["
        for item in value:
            put(separator)
            _write(item, put)
            separator = ", "
        put("]" if value else "[]")
    else:
        put(json.dumps(str(value)))


def _key_text(key: Any) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, bytes):
        return key.decode("utf-8")
    if key is None or isinstance(key, (bool, int, float)):
        return to_json(key)
    raise TypeError(f"a key of type {type(key).__name__} has no JSON form")


# --- reading ---------------------------------------------------------------------------------------


def decode(body: bytes) -> Message:
    """The message of one body. Raises MalformedFrame for anything else."""
    try:
        # "utf-8-sig" drops a leading byte-order mark. Too deep nesting is a RecursionError, and an
        # integer of more than 4300 digits a ValueError of `int`.
        value = json.loads(body.decode("utf-8-sig"), object_hook=_untag)
    except (ValueError, TypeError, RecursionError) as error:
        raise MalformedFrame(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise MalformedFrame(f"a {type(value).__name__} is not a message")
    missing = [key for key in REQUIRED_KEYS if key not in value]
    if missing:
        raise MalformedFrame(f"without {', '.join(missing)}")
    if value["msg_type"] not in MESSAGE_TYPES:
        raise MalformedFrame(f"unknown msg_type {value['msg_type']!r}")
    extra = {key: item for key, item in value.items() if key not in REQUIRED_KEYS and key != "error"}
    return Message(*(value[key] for key in REQUIRED_KEYS), error=value.get("error"), extra=extra)


def _untag(value: dict[str, Any]) -> Any:
    """Every object with the key `__bytes__`, at any depth, stands for bytes; its other keys are dropped."""
    return bytes.fromhex(value["__bytes__"]) if "__bytes__" in value else value


async def read_message(reader: asyncio.StreamReader) -> Message | None:
    """The next message, or None at the end of the stream *and* for a bad frame: callers cannot tell them apart."""
    try:
        (length,) = HEADER.unpack(await reader.readexactly(HEADER.size))
        return decode(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, OSError, MalformedFrame):
        return None


# --- endpoints -------------------------------------------------------------------------------------

Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def tcp_address(endpoint: str) -> tuple[str, int] | None:
    """`(host, port)` of `host:port` or `[v6]:port`; None when the endpoint is a path."""
    match = re.fullmatch(r"(?:\[([^\]/]+)\]|([^/:]+)):(\d+)", endpoint)
    return (match[1] or match[2], int(match[3])) if match else None


async def dial(endpoint: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = tcp_address(endpoint)
    return await (asyncio.open_connection(*address) if address else asyncio.open_unix_connection(endpoint))


async def listen(endpoint: str, accept: Accept) -> asyncio.AbstractServer:
    address = tcp_address(endpoint)
    return await (asyncio.start_server(accept, *address) if address else asyncio.start_unix_server(accept, endpoint))
