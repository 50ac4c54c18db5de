"""The first version of the protocol, translated to and from messages of the second one."""

from __future__ import annotations

from typing import Any

from .codec import encode_json
from .envelope import NO_LIMIT, text_json, timestamp
from .frames import encode_frame


def from_client(value: dict[str, Any]) -> dict[str, Any] | None:
    """What a client sent. Without an id it is ignored."""
    request_id = value.get("request_id")
    if request_id is None:
        return None
    data = {"type": value.get("type"), "data": value.get("data", {})}
    return {"msg_type": "request", "request_id": request_id, "data": data}


def from_server(value: dict[str, Any]) -> dict[str, Any] | None:
    """What a server sent behind its greeting."""
    kind = value.get("type")
    if kind == "response":
        failed = value.get("status") == "error"
        error = value.get("message") or "Unknown error" if failed else None
        return {
            "msg_type": "response",
            "request_id": value.get("request_id"),
            "data": value.get("data"),
            "error": error,
        }
    if not isinstance(kind, str) or kind == "register":
        return None
    return {"msg_type": "push", "request_id": "", "data": {"type": kind, "data": value.get("data", {})}}


def request_frame(request_id: str, request_type: str, json: str, limit: int) -> bytes:
    return encode_frame(f'{{"type":{text_json(request_type)},"request_id":"{request_id}","data":{json}}}', limit)


def response_frame(request_id: Any, json: str, limit: int) -> bytes:
    return encode_frame(
        f'{{"type":"response","request_id":{text_json(request_id)},"status":"success","data":{json},"message":""}}',
        limit,
    )


def failure_frame(request_id: Any, text: str) -> bytes:
    """One generation of clients dies of a failure whose data is null, the other reads the text beside it."""
    message = encode_json(text or "Unknown error")
    return encode_frame(
        f'{{"type":"response","request_id":{text_json(request_id)},"status":"error",'
        f'"data":{{"message":{message}}},"message":{message}}}',
        NO_LIMIT,
    )


def push_frame(account_id: str, push_type: str, json: str, limit: int, *, in_heartbeat: bool = False) -> bytes:
    """With `in_heartbeat` clients of the second version ignore it: for those that have not shown theirs."""
    wrapping = (
        f'"msg_type":"heartbeat","request_id":"","timestamp":"{timestamp()}","error":null,' if in_heartbeat else ""
    )
    return encode_frame(
        f'{{{wrapping}"type":{text_json(push_type)},"account_id":{encode_json(account_id)},"data":{json}}}', limit
    )
