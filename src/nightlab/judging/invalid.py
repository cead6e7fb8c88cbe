"""Choosing rows of an experiment and marking them as invalid: the rows stay, and a mark says that they do not count.

A marked sample takes its judgments with it, since they are about an answer that no longer stands. Anything that learns
late that rows are wrong (a canary that fails again, a judge's known items, a person) calls `mark`; what follows from
it (claims, report, queue) is night/invalidation.py's. Marks are kept by experiments/marks.py.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nightlab.errors import UsageError, nearest
from nightlab.experiments.marks import Mark, add_marks, marking, sample_name
from nightlab.experiments.samples import SAMPLES, Samples
from nightlab.files import JsonLines
from nightlab.judging.rows import JUDGMENTS, name_of, read_judgments

Row = dict[str, Any]

SAMPLE_FIELDS = (
    "key",
    "model",
    "model_id",
    "condition",
    "prompt",
    "category",
    "replicate",
    "server",
    "served_model",
    "canary",
    "finish_reason",
    "since",
)
JUDGMENT_FIELDS = ("key", "judge", "repeat", "rubric", "batch", "packet")
REASON = 500
VALUES_SHOWN = 8
_TIME = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?Z?)?")


@dataclass(frozen=True)
class Selection:
    """Which rows are meant: samples by the values of their fields, or judgments by theirs; never both."""

    samples: Mapping[str, str] = field(default_factory=dict)
    judgments: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a selection of everything, of both, or by a field that does not exist."""
        if bool(self.samples) == bool(self.judgments):
            raise UsageError("say which rows are invalid: samples or judgments, by at least one field")
        for given, known in ((self.samples, SAMPLE_FIELDS), (self.judgments, JUDGMENT_FIELDS)):
            for name in given:
                if name not in known:
                    close = nearest(name, known)
                    hint = f"did you mean {close}?" if close else f"known here: {', '.join(known)}"
                    raise UsageError(f"rows have no field {name!r} to be chosen by", hint=hint)
        if "since" in self.samples and not _TIME.fullmatch(self.samples["since"]):
            raise UsageError(f"{self.samples['since']!r} is no time", hint="in UTC, as rows have it: 2026-11-24T03:30")

    def __str__(self) -> str:
        """The selection in words."""
        given = self.samples or self.judgments
        what = "samples" if self.samples else "judgments"
        return f"{what} with {', '.join(f'{name} {value}' for name, value in given.items())}"


@dataclass(frozen=True)
class Marked:
    """What a selection hits in one experiment: rows that counted until now, and do so no longer."""

    samples: tuple[Row, ...]
    judgments: tuple[Row, ...]

    def __bool__(self) -> bool:
        return bool(self.samples or self.judgments)


def fields_of(text: str) -> dict[str, str]:
    """The fields of a selection as people write them: `model=llama condition=base`. Raises UsageError."""
    found: dict[str, str] = {}
    for part in text.replace(",", " ").split():
        name, sign, value = part.partition("=")
        if not (name and sign and value):
            raise UsageError(f"not a field and its value: {part!r}", hint='write "model=llama condition=base"')
        if found.setdefault(name, value) != value:
            raise UsageError(f"{name} is given twice", hint="rows have one value of each field; call it twice instead")
    return found


def choose(folder: Path, selection: Selection) -> Marked:
    """The rows of an experiment that a selection hits and that still count. Raises StorageError."""
    if selection.judgments:
        return Marked((), tuple(row for row in read_judgments(folder) if _fits(row, selection.judgments)))
    samples = tuple(row for row in Samples(folder).rows() if _fits(row, selection.samples))
    keys = {row["key"] for row in samples}
    return Marked(samples, tuple(row for row in read_judgments(folder) if row["key"] in keys))


def mark(folder: Path, selection: Selection, why: str, by: str) -> Marked:
    """Mark the rows that a selection hits, and the judgments of marked samples; all at once or not at all.

    Rows that were marked before are not hit again, so the same call twice is one. Raises UsageError without a reason.
    """
    reason = " ".join(why.split())[:REASON]
    if not reason:
        raise UsageError("rows are not marked without a reason", hint='say it: --why "the adapter was stale"')
    if not (folder / SAMPLES).exists():
        return Marked((), ())
    with marking(folder):
        hit = choose(folder, selection)
        add_marks(folder, marks_of(hit, selection, reason, by))
    return hit


def marks_of(hit: Marked, selection: Selection, why: str, by: str) -> list[Mark]:
    """The marks that strike these rows."""
    chosen = dict(selection.samples or selection.judgments)
    return [
        Mark("samples", tuple(sample_name(row) for row in hit.samples), why, by, chosen),
        Mark("judgments", tuple(name_of(row) for row in hit.judgments), why, by, chosen),
    ]


def why_nothing(folders: Iterable[Path], selection: Selection) -> str:
    """Why a selection hits no row that counts: its rows were marked before. Raises UsageError where none exist."""
    what, name = ("judgments", JUDGMENTS) if selection.judgments else ("samples", SAMPLES)
    wanted = selection.judgments or selection.samples
    values: dict[str, set[str]] = {column: set() for column in wanted}
    marked = 0
    for row in (row for folder in folders for row in JsonLines(folder / name).read()):
        marked += _fits(row, wanted)
        for column in wanted:
            if row.get(column) is not None:
                values[column].add(str(row[column]))
    if marked:
        return f"all {marked} {selection} were marked before"
    for column, value in wanted.items():
        if column != "since" and value not in values[column]:
            raise UsageError(f"no {what} here have {column} {value!r}", hint=_known(column, value, values[column]))
    raise UsageError(f"there are no {selection}", hint="each of the values occurs, and never together with the others")


def _known(field: str, value: str, values: Collection[str]) -> str:
    """What somebody may have meant who typed a value that no row has."""
    close = nearest(value, values)
    if close:
        return f"did you mean {close}?"
    if not values:
        return "there are no such rows in this lab, or under --experiment"
    more = f" and {len(values) - VALUES_SHOWN} more" if len(values) > VALUES_SHOWN else ""
    return f"{field} here: {', '.join(sorted(values)[:VALUES_SHOWN])}{more}"


def _fits(row: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    """Whether a row has these values; `since` is a time (UTC, as in the rows) before which it was not written."""
    exact = {name: value for name, value in wanted.items() if name != "since"}
    late = str(row.get("t", "")) >= wanted["since"].rstrip("Z") if "since" in wanted else True
    return late and all(str(row.get(name)) == value for name, value in exact.items())
