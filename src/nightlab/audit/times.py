"""The order of what happened: a plan is frozen before answers, answers come before their judgments, none tomorrow."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from nightlab.audit.finding import Finding, finding
from nightlab.experiments.lock import Lock
from nightlab.files import JsonLines

SLACK = timedelta(minutes=10)
"""How far the clocks of two machines may be apart."""


def moment(text: object) -> datetime | None:
    """An ISO time as UTC, or None where it is none."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def in_order(folder: Path, root: Path, lock: Lock) -> Iterator[Finding]:
    """Findings about times of rows that cannot be."""
    frozen, today = moment(lock.frozen), datetime.now(UTC)
    answered: dict[str, datetime] = {}
    for name in ("samples.jsonl", "judgments.jsonl"):
        path = folder / name
        for number, row in enumerate(JsonLines(path).read(), 1):
            at = moment(row.get("t"))
            if at is None:
                yield finding("dates", "error", path, f"no time: {row.get('t')!r}", line=number, root=root)
                continue
            answered.setdefault(str(row.get("key")), at)
            before = frozen if name == "samples.jsonl" else answered.get(str(row.get("key")))
            if before is not None and at < before - SLACK:
                what = (
                    "answered before the plan was frozen"
                    if name == "samples.jsonl"
                    else "judged before it was answered"
                )
                yield finding("dates", "error", path, what, line=number, evidence=f"{at} < {before}", root=root)
            elif at > today + SLACK:
                yield finding(
                    "dates", "error", path, "a time that has not come yet", line=number, evidence=at, root=root
                )
