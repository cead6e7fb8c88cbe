"""Striking a claim through wherever a night wrote it: `~~sentence~~ **Update** (date): why`. Nothing is deleted.

Only lines inside of nightlab's own markers are touched: findings and verdicts in RESEARCH_STATE.md, and the nights' own
text in the diary. Replies, headings, code and everything that people wrote outside of the markers stay as they are.
Limit: what a person adds between two markers of nightlab counts as a night's text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nightlab.files import write_atomic
from nightlab.record import markdown

_OPENS = re.compile(r"<!-- (night(?:: [\w.:-]+)|next: [\w.:-]+|nightlab:(?:findings|verdicts)) -->\s*")
_ITEM = re.compile(r"(\s*(?:[-*+]|\d+[.)])[ \t]+)(.*)", re.DOTALL)
_CITED = re.compile(r"(`[^`]+`[ \t]+)(.*)", re.DOTALL)
_CELL = re.compile(r"(?<=\|)([ \t]*)((?:[^|\\]|\\.)*?\S)([ \t]*)(?=\|)")
LONGEST = 600


def strike(path: Path, updates: Mapping[str, str], date: str) -> list[str]:
    """Strike every line of a document that cites one of the ids, with the update that it gets; the lines as they were.

    `updates` gives a text by id as it is cited (`exp_001/c1`). A line that is struck already stays as it is.
    """
    with markdown.alone(path):
        rows = markdown.read(path)
        end = markdown.line_end(rows)
        struck: list[str] = []
        for number in _own(rows):
            text = rows[number].rstrip("\r\n")
            cited = next((name for name in updates if _cites(text, name)), None)
            if cited is None or "~~" in text:
                continue
            rows[number] = f"{_struck(text, markdown.one_line(updates[cited], LONGEST), date)}{end}"
            struck.append(text)
        if struck:
            write_atomic(path, "".join(rows))
    return struck


def is_struck(line: str) -> bool:
    """Whether a line was struck through."""
    return "~~" in line and "**Update**" in line


def _own(rows: Sequence[str]) -> Iterator[int]:
    """The rows between our markers that are neither code, headings nor quoted."""
    code, headings = markdown.fenced(rows), {heading.row for heading in markdown.headings(rows)}
    closing = ""
    for number, row in enumerate(rows):
        opened = _OPENS.fullmatch(row) if number not in code else None
        if opened:
            closing = f"<!-- /{opened[1]} -->"
        elif row.strip() == closing:
            closing = ""
        elif closing and number not in code and number not in headings and not row.lstrip().startswith((">", "<!--")):
            yield number


def _cites(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w/]){re.escape(name)}(?![\w/])", text) is not None


def _struck(text: str, update: str, date: str) -> str:
    said = f"**Update** ({date}): {update}"
    if text.lstrip().startswith("|"):
        cells = _CELL.sub(r"\1~~\2~~\3", text)
        return f"{cells} {said}"
    item = _ITEM.fullmatch(text)
    start, rest = (item[1], item[2]) if item else ("", text)
    cited = _CITED.fullmatch(rest)
    if cited and cited[2].strip():
        start, rest = start + cited[1], cited[2]
    return f"{start}~~{rest.strip()}~~ {said}"
