"""A row as a line of JSON, and back: what files of rows are made of.

Reading is orjson's: it takes a quarter of the time, and keeps one copy of a field's name for all rows that have it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import orjson

_LONG = re.compile(rb"[0-9]{19}")
"""What may be a whole number of more than 64 bits, which orjson would round."""


def decoded(line: bytes) -> Any:
    """The value of a JSON line, as the standard library reads it; it is asked where the fast reader rounds or refuses.

    Raises ValueError.
    """
    try:
        return orjson.loads(line) if _LONG.search(line) is None else json.loads(line)
    except orjson.JSONDecodeError:  # half a surrogate pair, NaN, or damage
        return json.loads(line)


def encoded(row: Mapping[str, object]) -> bytes:
    """A row as a line of a JsonLines file."""
    text = json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        return text.encode("utf-8") + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair in a foreign text: only an escape can hold it
        return json.dumps(row, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"
