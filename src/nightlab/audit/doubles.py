"""Answers and scores that stand there twice."""

from __future__ import annotations

from collections.abc import Iterator

from nightlab.audit.data import ID, Data, Row
from nightlab.audit.finding import Finding, finding

_MORE = ("replicate", "repeat", "seed", "judge", "run", "index", "attempt", "batch", "t", "timestamp")


def doubles(data: Data) -> Iterator[Finding]:
    """Findings about rows of a file with the same identity."""
    for path, rows in data.files.items():
        seen: dict[tuple[object, ...], Row] = {}
        for row in rows:
            name = _identity(row, data)
            if not name:
                continue
            if name in seen:
                what = f"the same as in line {seen[name].line}: {', '.join(str(part) for part in name[:6])}"
                yield finding("doubles", "error", path, what, line=row.line, root=data.root)
            seen.setdefault(name, row)


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
