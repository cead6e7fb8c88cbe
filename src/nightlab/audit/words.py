"""Words that claim an order, held against the table that stands beside them: monotonic, peak, and bold maxima."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from nightlab.audit import prose
from nightlab.audit.data import Data, as_number
from nightlab.audit.finding import Finding, finding

_NEAR = 4  # lines between a table and a sentence about it
_RANGE = re.compile(r"\d+\s?[-–_]\s?\d+")
_MONOTONIC = re.compile(r"(?i)\bmonotonic(?:ally|)\b.*?\b(increas|decreas|ris|fall|drop)", re.S)
_PEAK = re.compile(r"(?i)\bpeaks?\b[^.]*?\(?(\d+\s?[-–]\s?\d+)")

Table = list[prose.Line]


def words(data: Data) -> Iterator[Finding]:
    """Findings about words that the table beside them does not bear out."""
    for path, text in data.texts.items():
        table: Table = []
        for line in prose.lines(text):
            if line.header:
                table = [*table, line] if table and line.number == table[-1].number + 1 else [line]
            elif table and line.number - table[-1].number <= _NEAR:
                yield from _sentence(line, table, path, data.root)


def _sentence(line: prose.Line, table: Table, path: Path, root: Path) -> Iterator[Finding]:
    ranges = [row for row in table if _RANGE.search(row.cells[0])]
    column = _first_numbers(ranges)
    if len(column) < 2:
        return
    if found := _MONOTONIC.search(line.text):
        falls = found[1].casefold() in ("decreas", "fall", "drop")
        pairs = list(itertools.pairwise(column))
        wrong = next((index for index, (a, b) in enumerate(pairs) if (b > a if falls else b < a)), None)
        if wrong is not None:
            what = f"not monotonic: {column[wrong]:g} is followed by {column[wrong + 1]:g} in the table above"
            yield finding("words", "error", path, what, line=line.number, root=root)
    if found := _PEAK.search(line.text):
        best = max(range(len(ranges)), key=column.__getitem__)
        if _plain(found[1]) not in _plain(ranges[best].cells[0]):
            what = f"the largest value above is in {ranges[best].cells[0]}, not in {found[1]}"
            yield finding("words", "error", path, what, line=line.number, root=root)


def _first_numbers(rows: Table) -> list[float]:
    values = [as_number(row.cells[1].strip("*_ ")) if len(row.cells) > 1 else None for row in rows]
    return [value for value in values if value is not None] if None not in values else []


def _plain(text: str) -> str:
    return re.sub(r"\s", "", text).replace("–", "-").replace("_", "-")
