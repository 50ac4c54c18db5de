"""Python values that are not plain JSON, or that JSON readers elsewhere get wrong, by name."""

from __future__ import annotations

from collections import namedtuple
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import Any

Point = namedtuple("Point", "x y")
MOMENT = datetime(2024, 1, 2, 3, 4, 5, 6)
# By the names of the recorded frames that carry them.
RECORDED_VALUES: dict[str, Any] = {
    "echo_nan": {"a": float("nan"), "b": float("inf"), "c": -float("inf")},
    "echo_bytes_utf8": {"a": b"abc", "b": "你".encode()},
    "echo_datetime": {
        "micro": MOMENT,
        "whole": MOMENT.replace(microsecond=0),
        "utc": MOMENT.replace(tzinfo=timezone.utc),
        "date": date(2024, 1, 2),
        "time": time(3, 4, 5),
    },
    "echo_decimal": {"a": Decimal("1.10"), "b": Decimal("1E+3")},
    "echo_decimal_nan": Decimal("NaN"),
    "echo_set": {"a": {1}},
    "echo_namedtuple": Point(1, 2),
    "echo_tuple": (1, 2),
    "echo_odd_keys": {1: "int", True: "bool", 1.5: "float", None: "none", "": "empty", "__proto__": 1},
    "kinds": {
        "datetime": MOMENT,
        "date": date(2024, 1, 2),
        "decimal": Decimal("1.10"),
        "ascii_bytes": b"abc",
        "nan": float("nan"),
        "inf": float("inf"),
        "bigint": 9007199254740993,
        "huge": 10**30,
        "tuple": (1, 2),
        "int_key": {1: "one"},
        "tagged_bytes": {"__bytes__": "00ff10"},
        "lone_surrogate": "\ud83d",
        "chinese": "你好",
        "emoji": "😀",
        "proto": {"__proto__": {"x": 1}, "constructor": 2},
    },
}

# By the names under which the driver sends and returns them.
NAMED_VALUES: dict[str, Any] = {
    "nan": float("nan"),
    "infinity": float("inf"),
    "decimal": Decimal("1.10"),
    "decimal_nan": Decimal("NaN"),
    "text_bytes": b"abc",
    "raw_bytes": b"\xff",  # cannot be encoded
    "datetime": MOMENT,
    "bigint": 2**53 + 1,
    "huge": 10**30,
    "tuple": (1, 2),
    "namedtuple": Point(1, 2),
    "set": {1},
    "odd_keys": RECORDED_VALUES["echo_odd_keys"],
    "lone_surrogate": "\ud83d",
    "kinds": RECORDED_VALUES["kinds"],
}

FALSY_VALUES: dict[str, Any] = {
    "zero": 0,
    "false": False,
    "null": None,
    "empty_string": "",
    "empty_array": [],
    "empty_object": {},
}
