"""The rows of an experiment folder, checked file by file: nothing twice, no judgment of an answer that is not there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightlab.errors import ConservationError
from nightlab.files import JsonLines
from nightlab.judging.rows import counts, stands

Row = dict[str, Any]


@dataclass(frozen=True)
class Rows:
    """The raw rows: samples by key, the last failure of each key, judgments by key.

    `set_aside` are the judgments that are no scores: of rejected batches, and of second judges.
    """

    samples: Mapping[str, Row]
    failures: Mapping[str, Row]
    judgments: Mapping[str, list[Row]]
    failed_attempts: int
    set_aside: tuple[Row, ...] = ()

    @property
    def judgment_count(self) -> int:
        """Rows of judgments.jsonl that are scores."""
        return sum(len(rows) for rows in self.judgments.values())


def read_rows(folder: Path) -> Rows:
    """Read samples, failures and judgments. Raises ConservationError for a doubled row or an orphaned judgment."""
    answered = _unique(JsonLines(folder / "samples.jsonl").read(), folder / "samples.jsonl", ("key",))
    samples = {row["key"]: row for row in answered.values()}
    failures = list(JsonLines(folder / "failures.jsonl").read())
    path = folder / "judgments.jsonl"
    judgments: dict[str, list[Row]] = {}
    judged = _unique(JsonLines(path).read(), path, ("key", "judge", "repeat"), _rejected).values()
    for row in filter(counts, judged):
        judgments.setdefault(row["key"], []).append(row)
    orphans = list(dict.fromkeys(row["key"] for row in judged if row["key"] not in samples))
    if orphans:
        raise ConservationError(
            f"{len(orphans)} judged answers are missing from samples.jsonl, the first with key {orphans[0]}",
            where=folder,
            hint="a judgment without its sample means that a row was lost: restore samples.jsonl from git",
        )
    aside = tuple(row for row in judged if not counts(row))
    return Rows(samples, {row["key"]: row for row in failures}, judgments, len(failures), aside)


def _rejected(row: Row) -> object:
    """What tells a rejected judgment from the one that replaces it."""
    return None if stands(row) else row.get("batch")


def _unique(
    rows: Iterable[Row], path: Path, fields: tuple[str, ...], also: Callable[[Row], object] = lambda row: None
) -> dict[tuple[Any, ...], Row]:
    found: dict[tuple[Any, ...], Row] = {}
    for number, row in enumerate(rows, 1):
        if missing := [field for field in fields if field not in row]:
            raise ConservationError(f"a row without `{missing[0]}`", where=f"{path}:{number}")
        name = (*(row[field] for field in fields), also(row))
        if name in found:
            said = ", ".join(f"{field} {value}" for field, value in zip(fields, name, strict=False))
            raise ConservationError(f"a row stands twice: {said}", where=f"{path}:{number}", hint="keep one of the two")
        found[name] = row
    return found
