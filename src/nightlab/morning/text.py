"""Text from models, logs and files made safe to print: on one bounded line without control characters; and wrapping."""

from __future__ import annotations

import re
import unicodedata

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")
PIECE = 14  # a word that a cut would leave this short a piece of is left out as a whole
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn"}


def clean(text: object, limit: int = 200) -> str:
    """One line of at most `limit` columns: no escape or control characters; a cut ends in `...`."""
    seen = "".join(c if unicodedata.category(c) not in _UNSEEN else " " for c in _ANSI.sub(" ", str(text)))
    line = " ".join(seen.split())
    if columns_of(line) <= limit:
        return line
    cut = line[: max(0, limit - 3)]
    while columns_of(cut) > limit - 3:
        cut = cut[:-1]
    head, _, rest = cut.rpartition(" ")
    if head and len(rest) <= PIECE and not line[len(cut)].isspace():
        cut = head
    return cut.rstrip() + "..."


def columns_of(text: str) -> int:
    """How many columns a text takes on a terminal."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in ("W", "F") else 1 for c in text
    )


def wrap(text: str, width: int, *, first: str = "", rest: str = "") -> list[str]:
    """The text on lines of at most `width` columns; `first` and `rest` stand before the first and the other lines."""
    lines, line = [], first
    empty = True
    for word in text.split():
        if not empty and columns_of(line) + 1 + columns_of(word) > width:
            lines.append(line)
            line, empty = rest, True
        line += word if empty else " " + word
        empty = False
        while columns_of(line) > width:
            head = _fitting(line, width)
            lines.append(line[:head])
            line = rest + line[head:]
    return [*lines, line.rstrip()] if not empty or not lines else lines


def _fitting(line: str, width: int) -> int:
    """How many characters of the line fit into the width; at least one more than its indent."""
    used = 0
    for position, character in enumerate(line):
        used += columns_of(character)
        if used > width:
            return max(position, 1)
    return len(line)


def duration(seconds: float) -> str:
    """A span of time as people say it: 41 s, 12 min, 7 h 58."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d}"
