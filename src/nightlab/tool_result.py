"""What a tool call gives back to a model: data or a closed failure, as bounded JSON.

A result stays in an append-only conversation for the whole watch, so its size is limited here and every cut is said.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from nightlab.errors import NightlabError

TOTAL = 24_000  # characters of one result, about 6,000 tokens
_ITEMS = 200


@dataclasses.dataclass(frozen=True)
class ToolError:
    """Why a call failed: a closed code, one sentence, and what would help."""

    code: str
    what: str
    next: str


class ToolFailure(Exception):
    """A failure that a tool wants its caller to see under its own code."""

    def __init__(self, code: str, what: str, next: str) -> None:
        super().__init__(what)
        self.error = ToolError(code, what, next)


@dataclasses.dataclass(frozen=True)
class ToolResult:
    """The outcome of one call: `data` of a call that worked, `error` of one that did not."""

    ok: bool
    data: dict[str, Any]
    error: ToolError | None = None

    @classmethod
    def failed(cls, code: str, what: str, next: str) -> ToolResult:
        """A call that failed."""
        return cls(False, {}, ToolError(code, what, next))

    @classmethod
    def of_error(cls, error: NightlabError) -> ToolResult:
        """A failure that nightlab knows; its code is the error's class name in snake case."""
        code = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).lower()
        where = f" ({error.where})" if error.where else ""
        return cls.failed(code, f"{error.what}{where}", error.hint or "read what happened, then try another way")

    def to_json(self, limit: int = TOTAL) -> str:
        """The result as JSON of at most about `limit` characters; what was cut is said in place."""
        body: dict[str, Any] = {"ok": self.ok}
        body |= {"data": self.data} if self.ok else {"error": dataclasses.asdict(self.error) if self.error else {}}
        for longest in (limit, limit // 2, limit // 8, limit // 32, 80):
            text = _dump(_plain(body, longest, _ITEMS if longest > limit // 8 else 20))
            if len(text) <= limit:
                return text
        note = f"the result has {len(_dump(_plain(body, 80, 20)))} characters even when cut; ask for less of it"
        return _dump({"ok": self.ok, "cut": note, "keys": sorted(map(str, self.data))[:50]})


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _plain(value: Any, longest: int, items: int) -> Any:
    """A value as JSON can hold it: paths as text, NaN as null, long texts and lists cut and said so."""
    if isinstance(value, bool | int | None):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | PurePath):
        return _cut(str(value), longest)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, longest, items) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return _list([*value], longest, items)
    return _cut(str(value), longest)


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text.encode("utf-8", "replace").decode("utf-8")
    return _cut(text[:longest], longest) + f" … [cut: the first {longest} of {len(text)} characters]"


def _list(values: list[Any], longest: int, items: int) -> list[Any]:
    kept = [_plain(value, longest, items) for value in values[:items]]
    return kept if len(values) <= items else [*kept, f"[cut: the first {items} of {len(values)} items]"]
