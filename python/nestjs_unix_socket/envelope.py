"""The frames of each kind of message, written around one JSON text of their data.

Building the envelope as text costs a fraction of encoding an object. `extras` are extension keys as a fragment
such as `,"more":true`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from .codec import encode_json
from .frames import encode_frame

CAPABILITIES: tuple[str, ...] = ("stream", "cancel", "deadline", "meta", "error_detail", "probe", "going_away")
"""What this package understands beyond the base protocol."""
UNKNOWN_REQUEST_TYPE = "Unknown request type"
PACKAGE_NAME = "nestjs-unix-socket-python"
NO_LIMIT = 0xFFFFFFFF

_PLAIN = re.compile(r"[\w.:-]{1,128}", re.ASCII).fullmatch


def timestamp() -> str:
    """Local time without a zone. Nobody reads it, but it has to be there."""
    return datetime.now().isoformat()


def extra(key: str, value: Any) -> str:
    """An extension key as a fragment; empty for None."""
    return "" if value is None else f',"{key}":{encode_json(value)}'


def text_json(value: Any) -> str:
    """Ids and types need no escaping as a rule."""
    if type(value) is str and _PLAIN(value):
        return f'"{value}"'
    return encode_json(value)


def call_frame(kind: str, request_id: str, request_type: str, json: str, extras: str, limit: int) -> bytes:
    """A `request` or a `push`."""
    return encode_frame(
        f'{{"msg_type":"{kind}","request_id":"{request_id}","data":{{"type":{text_json(request_type)},"data":{json}}},'
        f'"timestamp":"{timestamp()}","error":null{extras}}}',
        limit,
    )


def response_frame(request_id: Any, json: str, extras: str, limit: int) -> bytes:
    return encode_frame(
        f'{{"msg_type":"response","request_id":{text_json(request_id)},"data":{json},'
        f'"timestamp":"{timestamp()}","error":null{extras}}}',
        limit,
    )


def failure_frame(request_id: Any, text: str, detail: dict[str, Any], limit: int) -> bytes:
    """A failed response. An empty text would read as success, so it never goes out."""
    return encode_frame(
        f'{{"msg_type":"response","request_id":{text_json(request_id)},"data":null,"timestamp":"{timestamp()}",'
        f'"error":{encode_json(text or "Unknown error")}{extra("error_detail", detail)}}}',
        limit,
    )


def heartbeat_frame(extras: str = "") -> bytes:
    return encode_frame(
        f'{{"msg_type":"heartbeat","request_id":"","data":null,"timestamp":"{timestamp()}","error":null{extras}}}',
        NO_LIMIT,
    )


def notice_frame(request_id: str, text: str, code: str | None = None) -> bytes:
    """With a request's id a cancel, with an empty one a notice. Plain peers ignore both."""
    detail = extra("error_detail", None if code is None else {"code": code})
    return encode_frame(
        f'{{"msg_type":"error","request_id":"{request_id}","data":null,"timestamp":"{timestamp()}",'
        f'"error":{encode_json(text)}{detail}}}',
        NO_LIMIT,
    )


def greeting_frame(account_id: str, conn_id: str, max_frame_bytes: int, for_v1: bool) -> bytes:
    """The server's first frame. With the two keys of the first protocol version it suits clients of either."""
    first = extra("type", "register") + extra("account_id", account_id) if for_v1 else ""
    data = {
        "account_id": account_id,
        "conn_id": conn_id,
        "caps": CAPABILITIES,
        "max_frame_bytes": max_frame_bytes,
    }
    return response_frame("", encode_json(data), first, NO_LIMIT)


def hello_extra(account_id: str, max_frame_bytes: int, caps: Sequence[str] = CAPABILITIES) -> str:
    hello = {"name": PACKAGE_NAME, "account_id": account_id, "caps": caps, "max_frame_bytes": max_frame_bytes}
    return extra("hello", hello)
