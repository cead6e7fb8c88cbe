"""The rows of an experiment folder, checked file by file: nothing twice, no judgment of an answer that is not there."""

from __future__ import annotations

import contextlib
import gc
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nightlab.errors import ConservationError
from nightlab.evidence.columns import Answers, Scores
from nightlab.experiments.marks import Marks, Target, sample_name
from nightlab.experiments.samples import SAMPLES
from nightlab.files import JsonLines
from nightlab.judging.rows import JUDGMENTS, counts, name_of, stands

Row = dict[str, Any]


@dataclass(frozen=True)
class Struck:
    """A row that was marked: it stays in its file and no longer counts, for the reason given."""

    row: Row
    why: str


@dataclass(frozen=True)
class Rows:
    """The raw rows: samples by key, the last failure of each key, judgments by key.

    `set_aside` are the judgments that are no scores: of rejected batches, and of second judges. `struck_samples` and
    `struck_judgments` are the rows that were marked as invalid.
    """

    samples: Mapping[str, Row]
    failures: Mapping[str, Row]
    judgments: Mapping[str, list[Row]]
    failed_attempts: int
    set_aside: tuple[Row, ...] = ()
    struck_samples: tuple[Struck, ...] = ()
    struck_judgments: tuple[Struck, ...] = ()
    folder: Path | None = None
    """Where they were read from."""

    @property
    def judgment_count(self) -> int:
        """Rows of judgments.jsonl that are scores."""
        return sum(len(rows) for rows in self.judgments.values())

    @cached_property
    def answers(self) -> Answers:
        """The samples as columns."""
        return Answers.of(self.samples)

    @cached_property
    def scores(self) -> Scores:
        """The judgments as columns."""
        return Scores.of(self.judgments, self.samples)

    @cached_property
    def struck(self) -> Mapping[str, str]:
        """Why the last marked sample of a cell no longer counts, by the cell's key."""
        return {str(one.row["key"]): one.why for one in self.struck_samples}


def read_rows(folder: Path, marks: Marks | None = None) -> Rows:
    """Read samples, failures and judgments, under other marks than those of the folder where some are given.

    Raises ConservationError for a doubled row or an orphaned judgment.
    """
    with _no_collector():
        return _rows(folder, marks or Marks.read(folder))


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """Without the collector of cycles: rows have none, and it would search a million of them again and again."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _rows(folder: Path, marks: Marks) -> Rows:
    answered, struck = _read(folder / SAMPLES, "samples", marks, sample_name, ("key",))
    samples = {row["key"]: row for row in answered}
    failures = list(JsonLines(folder / "failures.jsonl").read())
    named = ("key", "judge", "repeat")
    judged, struck_judgments = _read(folder / JUDGMENTS, "judgments", marks, name_of, named, _rejected)
    _refuse_orphans(folder, judged, samples)
    judgments: dict[str, list[Row]] = {}
    aside = []
    for row in judged:
        if counts(row):
            judgments.setdefault(row["key"], []).append(row)
        else:
            aside.append(row)
    last = {row["key"]: row for row in failures}
    found = Rows(samples, last, judgments, len(failures), tuple(aside), tuple(struck), tuple(struck_judgments), folder)
    if len(found.answers) != len(samples) or len(found.scores.of_sample) != found.judgment_count:
        raise ConservationError("rows were lost on their way into columns", where=folder)
    return found


def _refuse_orphans(folder: Path, judged: Iterable[Row], samples: Mapping[str, Row]) -> None:
    """A judgment belongs to a sample that is there, and that was there when it was judged."""
    orphans = list(dict.fromkeys(row["key"] for row in judged if row["key"] not in samples))
    if orphans:
        raise ConservationError(
            f"{len(orphans)} judged answers are missing from samples.jsonl, the first with key {orphans[0]}",
            where=folder,
            hint="a judgment without its sample means that a row was lost: restore samples.jsonl from git",
        )


def _rejected(row: Row) -> object:
    """What tells a rejected judgment from the one that replaces it."""
    return None if stands(row) else row.get("batch")


def _read(
    path: Path,
    target: Target,
    marks: Marks,
    name_of: Callable[[Row], tuple[object, ...]],
    fields: tuple[str, ...],
    also: Callable[[Row], object] = lambda row: None,
) -> tuple[list[Row], list[Struck]]:
    """The rows of a file that count, none twice, and those that were marked."""
    rows = list(JsonLines(path).read())
    if not marks.of(target) and _distinct(rows, fields):
        return rows, []
    if nameless := [line for line, row in enumerate(rows, 1) if not isinstance(row.get("key", ""), str)]:
        hint = "restore the file from git"
        raise ConservationError("a row whose `key` is no text", where=f"{path}:{nameless[0]}", hint=hint)
    found: set[tuple[Any, ...]] = set()
    kept: list[Row] = []
    struck: list[Struck] = []
    for sifted in marks.sift(target, rows, name_of):
        row, where = sifted.row, f"{path}:{sifted.line}"
        if missing := [field for field in fields if field not in row]:
            raise ConservationError(f"a row without `{missing[0]}`", where=where)
        if sifted.struck is not None:
            struck.append(Struck(row, sifted.struck))
            continue
        name = (*(row[field] for field in fields), also(row))
        if name in found:
            said = ", ".join(f"{field} {value}" for field, value in zip(fields, name, strict=False))
            raise ConservationError(f"a row stands twice: {said}", where=where, hint="keep one of the two")
        found.add(name)
        kept.append(row)
    return kept, struck


def _distinct(rows: Sequence[Row], fields: tuple[str, ...]) -> bool:
    """Whether each row has a name of its own, so that nobody needs to be told which has not."""
    try:
        return len(set(map(operator.itemgetter(*fields), rows))) == len(rows)
    except (KeyError, TypeError):
        return False
