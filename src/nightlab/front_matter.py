"""Markdown files that begin with YAML front matter: agents, skills and rubrics.

The front matter is data for the harness, the body is text for a model. Errors name the file and the line.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from nightlab.errors import SpecError, nearest
from nightlab.files import parse_yaml, read_text

_FENCE = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)


def parts(text: str) -> tuple[str, str] | None:
    """The YAML (it begins at line 2) and the text after it; None where a text has no front matter."""
    found = _FENCE.match(text)
    return None if found is None else (found[1], text[found.end() :])


def split(path: Path) -> tuple[dict[str, Any], str]:
    """The front matter and the body of a file. Raises SpecError."""
    found = parts(read_text(path, SpecError))
    if found is None:
        hint = "the first line is ---, then YAML, then a line ---, then the text"
        raise SpecError("no front matter", where=f"{path}:1", hint=hint)
    fields = parse_yaml(found[0], path, SpecError, first_line=2)
    if not isinstance(fields, dict):
        raise SpecError("the front matter is no mapping of keys to values", where=f"{path}:2")
    return {str(key): value for key, value in fields.items()}, found[1].strip()


def check_keys(fields: dict[str, Any], known: Collection[str], required: Collection[str], path: Path) -> None:
    """Refuse unknown keys, naming the nearest one, and missing ones. Raises SpecError."""
    for key in fields:
        if key not in known:
            close = nearest(key, known)
            hint = f"did you mean {close}?" if close else f"known keys: {', '.join(known)}"
            raise SpecError(f"unknown key {key!r} in the front matter", where=path, hint=hint)
    missing = [key for key in required if fields.get(key) in (None, "")]
    if missing:
        raise SpecError(f"the front matter lacks {' and '.join(missing)}", where=path)


def text_of(fields: dict[str, Any], key: str, path: Path, limit: int) -> str:
    """A key whose value is a text of at most `limit` characters; "" where it is absent. Raises SpecError."""
    value = fields.get(key, "")
    if not isinstance(value, str):
        raise SpecError(f"{key} is no text: {value!r}", where=path, hint=f'write it in quotes: {key}: "…"')
    if len(value) > limit:
        raise SpecError(f"{key} has {len(value)} characters, at most {limit} are allowed", where=path)
    return value.strip()


def words_of(fields: dict[str, Any], key: str, path: Path) -> tuple[str, ...]:
    """A key whose value is a YAML list or a comma-separated line of words. Raises SpecError."""
    value = fields.get(key) or []
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise SpecError(f"{key} is no list of words: {value!r}", where=path, hint=f"{key}: [one, two]")
    stripped = tuple(word.strip() for word in words if word.strip())
    doubled = sorted({word for word in stripped if stripped.count(word) > 1})
    if doubled:
        raise SpecError(f"{key} lists {', '.join(doubled)} twice", where=path)
    return stripped
