"""Dates of entries: in order, not a year off, not another one than git saw them written."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from nightlab.audit.data import Data
from nightlab.audit.finding import Finding, finding
from nightlab.audit.history import History

_ENTRY = re.compile(r"#{1,3}\s.*?\b(\d{4})-(\d\d)-(\d\d)\b")
_NEAR = timedelta(days=20)
_AWAY = timedelta(days=2)


def dates(data: Data) -> Iterator[Finding]:
    """Findings about dates in headings."""
    history = History(data.root)
    for path, text in data.texts.items():
        entries = list(_entries(text))
        yield from _order(entries, path, data.root)
        written = _one_by_one(history.written(path), entries) if entries else {}
        for number, day in entries:
            if day > datetime.now(UTC).date() + timedelta(days=1):
                yield finding("dates", "error", path, f"{day} has not come yet", line=number, root=data.root)
            if number in written and abs(datetime.fromisoformat(written[number]).date() - day) > _AWAY:
                what = f"the entry is of {day}, and git saw it written on {written[number][:10]}"
                yield finding("dates", "error", path, what, line=number, root=data.root)


def _entries(text: list[str]) -> Iterator[tuple[int, date]]:
    for number, line in enumerate(text, 1):
        if found := _ENTRY.match(line):
            try:
                yield number, date(int(found[1]), int(found[2]), int(found[3]))
            except ValueError:
                continue  # 2026-99-99 is no date, and somebody's business


def _one_by_one(written: dict[int, str], entries: list[tuple[int, date]]) -> dict[int, str]:
    """When entries were written, without those that came into git together, as a diary that was brought in does."""
    days: dict[str, set[date]] = {}
    for number, day in entries:
        if number in written:
            days.setdefault(written[number], set()).add(day)
    return {number: at for number, at in written.items() if len(days.get(at, ())) == 1}


def _order(entries: list[tuple[int, date]], path: Path, root: Path) -> Iterator[Finding]:
    """Entries one after another: upwards or downwards, and not exactly a year apart."""
    falling = sum(1 for (_, a), (_, b) in itertools.pairwise(entries) if b < a)
    downwards = falling > len(entries) / 2
    for (above, before), (number, day) in itertools.pairwise(entries):
        if (day > before) if downwards else (day < before):
            yield finding(
                "dates", "error", path, f"an entry of {day} stands below one of {before}", line=number, root=root
            )
        gap = abs(day - before)
        if any(abs(gap - timedelta(days=365 * years)) <= _NEAR for years in (1, 2)):
            what = f"{before} is {gap.days} days from the next entry, {day}: a year off?"
            yield finding("dates", "error", path, what, line=above, root=root)
