"""Editing Markdown that people edit too: every change is a splice, and no byte outside it is touched.

A document is a list of rows that keep their line ends. Headings and markers inside closed code fences are text.
What comes from a model passes `block` or `one_line` first: it cannot make a heading, a marker or an open fence.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightlab.errors import LabError
from nightlab.files import read_text

_ROW = re.compile(r"[^\n]*\n|[^\n]+")
_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_RULE = re.compile(r"\s*(=+|-+|\*{3,}|_{3,})\s*$")
_TAG = re.compile(r"<(?=!--|/?[hH][1-6]\b)")
_BIDI = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")


@dataclass(frozen=True)
class Heading:
    """A heading and the number of its row."""

    row: int
    level: int
    title: str


def read(path: Path) -> list[str]:
    """The rows of a document; none where it does not exist yet. Raises LabError for one that is not UTF-8."""
    return split(read_text(path, LabError)) if path.exists() else []


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other nightlab processes from changing documents of this folder between a read and a write.

    On file systems that cannot lock a folder this does nothing; the moment between read and write is then unguarded.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def split(text: str) -> list[str]:
    """A text as rows that keep their line ends; joined again they are the same text."""
    return _ROW.findall(text)


def line_end(rows: Sequence[str]) -> str:
    """The line end that a document uses."""
    return "\r\n" if rows and rows[0].endswith("\r\n") else "\n"


def fenced(rows: Sequence[str]) -> set[int]:
    """The rows that belong to closed code fences; a fence that is never closed is text."""
    inside: set[int] = set()
    row = 0
    while row < len(rows):
        end = _fence_end(rows, row)
        if end is not None:
            inside.update(range(row, end + 1))
            row = end
        row += 1
    return inside


def _fence_end(rows: Sequence[str], start: int) -> int | None:
    opened = _FENCE.match(rows[start].rstrip())
    if opened is None:
        return None
    for row in range(start + 1, len(rows)):
        closing = rows[row].strip()
        indent = len(rows[row]) - len(rows[row].lstrip(" "))
        if indent <= 3 and len(closing) >= len(opened[1]) and set(closing) == {opened[1][0]}:
            return row
    return None


def headings(rows: Sequence[str]) -> list[Heading]:
    """All headings of the `#` form."""
    code = fenced(rows)
    found = [(n, _HEADING.match(row.rstrip("\r\n"))) for n, row in enumerate(rows) if n not in code]
    return [Heading(n, len(match[1]), (match[2] or "").strip()) for n, match in found if match]


def section(rows: Sequence[str], title: str, level: int = 2) -> tuple[int, int] | None:
    """The rows [start, end) of the first section with this title, its heading included."""
    found = headings(rows)
    for n, heading in enumerate(found):
        if heading.level == level and heading.title.casefold() == title.casefold():
            return heading.row, next((h.row for h in found[n + 1 :] if h.level <= level), len(rows))
    return None


def marked(rows: Sequence[str], name: str) -> tuple[int, int] | None:
    """The rows of the markers `<!-- name -->` and `<!-- /name -->` around the first well-formed region."""
    code, start = fenced(rows), None
    for n, row in enumerate(rows):
        if n in code:
            continue
        if row.strip() == f"<!-- {name} -->":
            start = n
        elif row.strip() == f"<!-- /{name} -->" and start is not None:
            return start, n
    return None


def insert(rows: Sequence[str], at: int, lines: Iterable[str]) -> list[str]:
    """Insert a block of lines after the last text above row `at`, with blank lines around it."""
    end = line_end(rows)
    while at > 0 and not rows[at - 1].strip():
        at -= 1
    block = [f"{line}{end}" for line in lines]
    if at > 0:
        block.insert(0, end if rows[at - 1].endswith("\n") else end * 2)
    if at < len(rows) and rows[at].strip():
        block.append(end)
    return [*rows[:at], *block, *rows[at:]]


def replace(rows: Sequence[str], start: int, stop: int, lines: Iterable[str]) -> list[str]:
    """Put lines in the place of the rows [start, stop); rows among them keep the line ends that they have."""
    end = line_end(rows)
    return [*rows[:start], *(line if line.endswith("\n") else f"{line}{end}" for line in lines), *rows[stop:]]


def put_region(rows: Sequence[str], title: str, name: str, lines: Iterable[str]) -> list[str]:
    """Set what stands between our markers; region and section are added where they are missing."""
    found = marked(rows, name)
    if found:
        return replace(rows, found[0] + 1, found[1], lines)
    region = [f"<!-- {name} -->", *lines, f"<!-- /{name} -->"]
    place = section(rows, title)
    return insert(rows, place[1], region) if place else insert(rows, len(rows), [f"## {title}", "", *region])


def one_line(text: str, limit: int) -> str:
    """A text as one bounded line that cannot open a comment; a cut is said."""
    line = _TAG.sub("&lt;", " ".join(_clean(text).split()))
    return line if len(line) <= limit else f"{line[:limit].rstrip()} … [cut: {limit} of {len(line)} characters]"


def block(text: str, limit: int = 20_000) -> list[str]:
    """A text as bounded lines without headings, markers or open fences; lists, tables, quotes and code stay."""
    text = _clean(text).strip()
    note = [f"[cut: the first {limit} of {len(text)} characters]"] if len(text) > limit else []
    lines: list[str] = []
    fence = ""
    for line in _TAG.sub("&lt;", text[:limit]).split("\n"):
        mark = _FENCE.match(line.rstrip())
        if not fence:
            lines.append(_plain(line, lines))
            fence = mark[1] if mark else ""
            continue
        closes = mark is not None and line.strip() == mark[1] and mark[1].startswith(fence)
        lines.append(f"    {line}" if _HEADING.match(line) else line)
        fence = "" if closes else fence
    return [*lines, *([fence] if fence else []), *note]


def _plain(line: str, above: Sequence[str]) -> str:
    """A line outside code: a heading of either form becomes text."""
    if _HEADING.match(line.rstrip()) or (_RULE.match(line) and above and above[-1].strip()):
        return re.sub(r"^(\s*)(\S)", r"\1\\\2", line)
    return line


def _clean(text: str) -> str:
    """Without control and direction characters; tabs and line ends stay."""
    text = _BIDI.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(c for c in text if c in "\n\t" or c.isprintable() or c == "\u00a0")
