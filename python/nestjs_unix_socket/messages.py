"""The five messages as objects, for peers and tools that build their own frames."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from .codec import decode_json, encode_json
from .envelope import timestamp
from .errors import FrameTooLargeError, MalformedFrameError
from .frames import HEADER, HEADER_BYTES, MAX_FRAME_BYTES, encode_frame


class MessageType(str, Enum):
    HEARTBEAT = "heartbeat"
    REQUEST = "request"
    RESPONSE = "response"
    PUSH = "push"
    ERROR = "error"


MESSAGE_TYPES = frozenset(kind.value for kind in MessageType)


def check_message(value: Any) -> dict[str, Any]:
    """The object of a body. Raises MalformedFrameError if it is no message of the second protocol version."""
    if type(value) is not dict:
        raise MalformedFrameError("the body is no object")
    if "request_id" not in value or "data" not in value or "timestamp" not in value:
        raise MalformedFrameError("one of the keys request_id, data and timestamp is missing")
    msg_type = value.get("msg_type")
    if type(msg_type) is not str or msg_type not in MESSAGE_TYPES:
        raise MalformedFrameError("msg_type is none of the five")
    return value


@dataclass
class MessageBody:
    """One message. Only `msg_type` of a received one has been checked."""

    msg_type: MessageType
    request_id: Any
    data: Any
    timestamp: Any = field(default_factory=timestamp)
    error: Any = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "msg_type": self.msg_type.value,
            "request_id": self.request_id,
            "data": self.data,
            "timestamp": self.timestamp,
            "error": self.error,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> MessageBody:
        """Raises MalformedFrameError."""
        body = check_message(value)
        return cls(
            MessageType(body["msg_type"]), body["request_id"], body["data"], body["timestamp"], body.get("error")
        )


class MessageProtocol:
    """Whole frames to messages and back."""

    @staticmethod
    def encode(message: MessageBody, max_frame_bytes: int = MAX_FRAME_BYTES) -> bytes:
        """Raises EncodeError, FrameTooLargeError."""
        return encode_frame(encode_json(message.to_dict()), max_frame_bytes)

    @staticmethod
    def decode(data: bytes) -> MessageBody | None:
        """The first message in `data`; None if it is not whole. Raises MalformedFrameError."""
        if len(data) < HEADER_BYTES:
            return None
        (length,) = HEADER.unpack_from(data)
        if len(data) < HEADER_BYTES + length:
            return None
        return MessageBody.from_dict(decode_json(data[HEADER_BYTES : HEADER_BYTES + length]))

    @staticmethod
    async def read_message(reader: asyncio.StreamReader, max_frame_bytes: int = MAX_FRAME_BYTES) -> MessageBody | None:
        """The next message; None at the end of the stream. Raises MalformedFrameError, FrameTooLargeError."""
        try:
            (length,) = HEADER.unpack(await reader.readexactly(HEADER_BYTES))
            if length > max_frame_bytes:
                raise FrameTooLargeError(length, max_frame_bytes)
            body = await reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return MessageBody.from_dict(decode_json(body))


def generate_request_id() -> str:
    """16 hex digits."""
    return uuid.uuid4().hex[:16]


def create_request(data: dict[str, Any], request_id: str | None = None) -> MessageBody:
    """A request; `data` is `{"type": …, "data": …}`."""
    return MessageBody(MessageType.REQUEST, request_id or str(uuid.uuid4()), data)


def create_response(data: Any, request_id: Any, error: str | None = None) -> MessageBody:
    """The answer to `request_id`. A failed one carries no data; an empty error is none."""
    return MessageBody(MessageType.RESPONSE, request_id, None if error else data, error=error or None)


def create_heartbeat() -> MessageBody:
    return MessageBody(MessageType.HEARTBEAT, "", None)


def create_push(push_type: str, data: Any, request_id: str = "") -> MessageBody:
    return MessageBody(MessageType.PUSH, request_id or str(uuid.uuid4()), {"type": push_type, "data": data})


def create_error(error: str, request_id: str = "") -> MessageBody:
    """An `error` frame, which peers ignore: answer a failed request with `create_response`."""
    return MessageBody(MessageType.ERROR, request_id, None, error=error)
