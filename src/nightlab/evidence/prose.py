"""A template taken apart: its prose with every tag blanked out, and which of it stands under a checked condition.

Both keep the length and the lines of the template, so that a place in one is the same place in the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import TemplateSyntaxError

from nightlab.evidence.sandbox import ReportError, environment

CONDITIONS = (
    "verdict",
    "holds",
    "mean",
    "difference",
    "least",
    "n",
    "judged",
    "answered",
    "planned",
    "missing",
    "spread",
)
"""The queries that make an `if` a check of the data."""

_CHECKED = re.compile(rf"\b(?:{'|'.join(CONDITIONS)})\s*\(")
_END = re.compile(r"(?<=[.!?])\s+|\n")


@dataclass(frozen=True)
class Sentence:
    """A sentence of the prose: its line, its words, the same piece of the template, whether it stands in a check."""

    line: int
    prose: str
    source: str
    checked: bool


@dataclass
class _Parts:
    prose: list[str] = field(default_factory=list)
    checked: list[bool] = field(default_factory=list)
    open: list[bool] = field(default_factory=list)

    def add(self, text: str, shown: bool) -> None:
        self.prose.append(text if shown else blank(text))
        self.checked += [any(self.open)] * len(text)


def blank(text: str) -> str:
    """Spaces in the place of a text; line ends stay."""
    return re.sub(r"[^\n]", " ", text)


def prose_of(text: str, where: Path | str) -> str:
    """The prose alone. Raises ReportError for a malformed template."""
    return "".join(_take_apart(text, where).prose)


def sentences(text: str, where: Path | str) -> Iterator[Sentence]:
    """The sentences of a template's prose. Raises ReportError for a malformed template."""
    parts = _take_apart(text, where)
    prose, start = "".join(parts.prose), 0
    for end in [*(found.end() for found in _END.finditer(prose)), len(prose)]:
        piece = prose[start:end]
        if piece.strip():
            begin = start + len(piece) - len(piece.lstrip())
            checked = all(parts.checked[begin : start + len(piece.rstrip())])
            yield Sentence(prose.count("\n", 0, begin) + 1, piece, text[start:end], checked)
        start = end


def _take_apart(text: str, where: Path | str) -> _Parts:
    plain = environment().overlay(trim_blocks=False, lstrip_blocks=False)
    parts, inside, raw, tag = _Parts(), 0, False, ""
    try:
        for _, kind, value in plain.lex(text):
            if kind in ("variable_begin", "block_begin", "comment_begin", "raw_begin"):
                inside, raw, tag = (0, True, "") if kind == "raw_begin" else (inside + 1, raw, "")
                parts.add(value, shown=False)
            elif kind in ("variable_end", "block_end", "comment_end", "raw_end"):
                inside = max(0, inside - 1)
                parts.add(value, shown=False)
                _enter_or_leave(parts, tag if kind == "block_end" else "")
            else:
                tag += value if inside else ""
                parts.add(value, shown=kind == "data" and not inside)
    except TemplateSyntaxError as problem:
        raise ReportError(f"malformed template: {problem.message}", where=f"{where}:{problem.lineno}") from None
    return parts


def _enter_or_leave(parts: _Parts, tag: str) -> None:
    word = tag.split()[0] if tag.split() else ""
    if word == "if":
        parts.open.append(bool(_CHECKED.search(tag)))
    elif word == "endif" and parts.open:
        parts.open.pop()
