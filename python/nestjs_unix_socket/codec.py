"""Values to JSON text and back.

Bytes travel as `{"__bytes__": "<hex>"}` and come back as bytes. Dates and times are written in ISO form, which
readers get as text. NaN and infinities become null.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from .errors import EncodeError, MalformedFrameError

BYTES_KEY = "__bytes__"
MAX_DEPTH = 1000  # levels; about where other readers of this protocol give up
_QUOTED_BYTES_KEY = f'"{BYTES_KEY}"'
_TOO_SHORT_TO_BE_DEEP = 2 * MAX_DEPTH  # characters: each level costs two brackets


class _NeedsCare(Exception):
    """The fast encoder cannot write this value as it should be."""


def encode_json(value: Any) -> str:
    """`value` as ASCII JSON text. Raises EncodeError for what has no JSON form."""
    try:
        try:
            text = _fast_encode(value)
        except (ValueError, _NeedsCare):
            # NaN, infinities and decimals, which the fast encoder cannot write.
            pieces: list[str] = []
            _write(value, pieces.append, 0)
            text = "".join(pieces)
        if _QUOTED_BYTES_KEY in text:
            _refuse_reserved_key(value)
        if len(text) > _TOO_SHORT_TO_BE_DEEP:
            _check_depth(text)
        return text
    except RecursionError as error:
        raise EncodeError("it is circular or too deep", error) from None
    except (TypeError, AttributeError) as error:
        raise EncodeError(str(error), error) from None


def decode_json(body: bytes | bytearray | memoryview) -> Any:
    """The value of a body. Raises MalformedFrameError for anything but JSON in UTF-8."""
    try:
        text = str(body, "utf-8")
        if text.startswith("\ufeff"):
            text = text[1:]
        # The tag's key may be written with escapes, each of which begins so.
        if BYTES_KEY in text or "\\u00" in text:
            return _tag_decode(text)
        return _plain_decode(text)
    except RecursionError:
        raise MalformedFrameError("nested too deep") from None
    except (ValueError, TypeError) as error:
        raise MalformedFrameError(f"not JSON: {error}", error) from None


def _substitute(value: Any) -> Any:
    """What stands in JSON for a value that JSON does not know."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {BYTES_KEY: bytes(value).hex()}
    if isinstance(value, (date, time)):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, Decimal):
        raise _NeedsCare
    if isinstance(value, (UUID, PurePath, timedelta)):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"a {type(value).__name__} has no JSON form")


def _untag(value: dict[str, Any]) -> Any:
    return bytes.fromhex(value[BYTES_KEY]) if BYTES_KEY in value else value


def _null(_literal: str) -> None:
    """A bare NaN or Infinity, which is not JSON but which some peers write."""


_fast_encode = json.JSONEncoder(
    check_circular=False, allow_nan=False, separators=(",", ":"), default=_substitute
).encode
_plain_decode = json.JSONDecoder(parse_constant=_null).decode
_tag_decode = json.JSONDecoder(parse_constant=_null, object_hook=_untag).decode


def _write(value: Any, put: Callable[[str], None], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(value, float):
        put(float.__repr__(value) if math.isfinite(value) else "null")
    elif isinstance(value, Decimal):
        put(str(value) if value.is_finite() else "null")
    elif value is None or isinstance(value, (str, int)):
        put(json.dumps(value))
    elif isinstance(value, dict):
        separator = "{"
        for key, item in value.items():
            put(f"{separator}{_key(key)}:")
            _write(item, put, depth + 1)
            separator = ","
        put("}" if value else "{}")
    elif isinstance(value, (list, tuple)):
        separator = "["
        for item in value:
            put(separator)
            _write(item, put, depth + 1)
            separator = ","
        put("]" if value else "[]")
    else:
        _write(_substitute(value), put, depth + 1)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return json.dumps(key)
    if isinstance(key, float) and not math.isfinite(key):
        return '"null"'
    if key is None or isinstance(key, (int, float)):
        return json.dumps(json.dumps(key))
    raise TypeError(f"keys must be text, not {type(key).__name__}")


def _refuse_reserved_key(value: Any) -> None:
    if isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            _refuse_reserved_key(item)
    elif isinstance(value, Mapping):
        if BYTES_KEY in value:
            raise EncodeError(f'the key "{BYTES_KEY}" is reserved: send bytes instead')
        for item in value.values():
            _refuse_reserved_key(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            _refuse_reserved_key(getattr(value, field.name))
    elif isinstance(value, Enum) and not isinstance(value, (str, int)):
        _refuse_reserved_key(value.value)


def _check_depth(text: str) -> None:
    # Cheap first: so many opening brackets are needed at all.
    if text.count("[") + text.count("{") < MAX_DEPTH - 10:
        return
    depth = 0
    in_text = False
    escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif in_text:
            escaped = character == "\\"
            in_text = character != '"'
        elif character == '"':
            in_text = True
        elif character in "[{":
            depth += 1
            # The message around the value adds some levels.
            if depth > MAX_DEPTH - 10:
                raise RecursionError
        elif character in "]}":
            depth -= 1
