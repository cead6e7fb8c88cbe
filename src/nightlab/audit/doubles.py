"""Answers and scores that stand there twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from nightlab.audit.data import ID, Data, Row
from nightlab.audit.finding import Finding, finding

_MORE = (
    *("replicate", "repeat", "rep", "trial", "seed", "judge", "rater", "annotator", "run", "index", "attempt", "batch"),
    *("t", "timestamp"),
)
"""What tells rows of the same levels apart, numbers too."""

_FEW = 0.1  # of the levels may come twice


def doubles(data: Data) -> Iterator[Finding]:
    """Findings about rows of a file with the same identity."""
    for path, rows in data.files.items():
        yield from _twice(((row, _identity(row, data)) for row in rows), path, data.root)
        yield from _scored_twice(path, rows, data)


def _scored_twice(path: Path, rows: list[Row], data: Data) -> Iterator[Finding]:
    """Scores of the same levels twice, in a file in which levels nearly always come once: else they are repetitions."""
    named = [(row, _levels(row, data)) for row in rows if row.text is None and not {*row.values} & {*ID}]
    own = [(row, levels) for row, levels in named if len(levels) > 1 and data.is_scored(row)]
    seen = Counter(levels for _, levels in own)
    if sum(count > 1 for count in seen.values()) <= _FEW * len(seen):
        yield from _twice(own, path, data.root)


def _twice(named: Iterable[tuple[Row, tuple[object, ...]]], path: Path, root: Path) -> Iterator[Finding]:
    seen: dict[tuple[object, ...], Row] = {}
    for row, name in named:
        if name and name in seen:
            what = f"the same as in line {seen[name].line}: {', '.join(str(part) for part in name[:6])}"
            yield finding("doubles", "error", path, what, line=row.line, root=root)
        seen.setdefault(name, row)


def _levels(row: Row, data: Data) -> tuple[object, ...]:
    """All that a row says but its scores."""
    apart = sorted(name for name in row.values if name not in data.measures or name in _MORE)
    return tuple(str(row.values[name]) for name in apart)


def _identity(row: Row, data: Data) -> tuple[object, ...]:
    """What no two rows of a file share: an id with what may repeat it, else all factors together."""
    if data.is_aggregate(row):
        return ()
    more = tuple(row.values[name] for name in _MORE if name in row.values)
    ids = tuple(str(row.values[name]) for name in ID if name in row.values)
    if ids:
        return (*ids[:1], *more)
    factors = tuple(row.values[name] for name in data.factors if name in row.values)
    return (*factors, *more, row.text or "") if len(factors) > 1 and (row.text or "").strip() else ()
