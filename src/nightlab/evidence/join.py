"""The join behind the table: planned cells, samples and judgments by cell key, all at once, with nothing lost.

Everything is an array over the planned cells or over the rows: a million of them take less than a second. Sums are
checked on the way: as many samples, judgments and points go in as come out or are explained; else a ConservationError
says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightlab.errors import ConservationError
from nightlab.evidence.columns import LABELS, Answers, Floats, Keys, Places, Scores
from nightlab.evidence.design import Design
from nightlab.evidence.rows import Row, Rows

Objects = NDArray[Any]
Codes = NDArray[np.int8]

SCORED, UNJUDGED, MISSING, EXCLUDED, UNPROVEN = "scored", "unjudged", "missing", "excluded", "unproven"
INVALID = "invalid"
STATUSES = (SCORED, UNJUDGED, MISSING, EXCLUDED, UNPROVEN, INVALID)
CODES = {name: code for code, name in enumerate(STATUSES)}


@dataclass(frozen=True)
class Joined:
    """What became of each planned cell: its status, the reason where it does not count, its mean scores."""

    codes: Codes
    """Each cell's status as its place in STATUSES."""
    reason: Objects
    dimensions: tuple[str, ...]
    scores: Floats
    unplanned: tuple[Row, ...]


def join(design: Design, rows: Rows, passed: set[str] | None) -> Joined:
    """Join by cell key. `passed` are the servers whose canary passed; None: nobody looks at canaries.

    Raises ConservationError for labels that are not those of the plan, and for anything that is lost.
    """
    answers, scores = rows.answers, rows.scores
    cell = answers.keys.places(design.keys)
    placed = np.flatnonzero(cell >= 0)
    _refuse_other_labels(design, rows, placed, cell[placed])
    status, reason = _unanswered(design, rows)
    status[cell[placed]], reason[cell[placed]] = CODES[UNJUDGED], "not judged"
    judged = cell[scores.of_sample]
    known = judged[judged >= 0]
    status[known], reason[known] = CODES[SCORED], ""
    _exclude(design, answers, placed, cell[placed], status, reason)
    if passed is not None:
        unproven = cell[placed[~answers.named["server"].among(passed)[placed]]]
        status[unproven], reason[unproven] = CODES[UNPROVEN], "no passed canary for its server"
    samples = list(rows.samples.values())
    unplanned = tuple(samples[number] for number in np.flatnonzero(cell < 0).tolist())
    _conserve(design, cell, judged, status, len(placed) + len(unplanned))
    dimensions, means = _means(scores, judged, status)
    return Joined(status, reason, dimensions, means, unplanned)


def _refuse_other_labels(design: Design, rows: Rows, placed: Places, at: Places) -> None:
    """A sample's names are those that the plan gives its key."""
    for field in LABELS:
        said = rows.answers.named[field].take(placed)
        wrong = said.differs(design.coded[field], at)
        if len(wrong):
            first = int(wrong[0])
            key = list(rows.samples)[int(placed[first])]
            own, planned = said.objects()[first], design.columns[field][at[first]]
            raise ConservationError(
                f"sample {key} says {field} {own!r}, the plan says {planned!r}",
                where=design.name,
                hint="a label was changed after the answer: restore samples.jsonl from git",
            )


def _unanswered(design: Design, rows: Rows) -> tuple[Codes, Objects]:
    """The statuses and reasons that cells have before any answer is looked at."""
    count = len(design.cells)
    status, reason = np.full(count, CODES[MISSING], dtype=np.int8), np.full(count, "never asked", dtype=object)
    for place, failure in _planned(design, rows.failures, rows.failures.values()):
        reason[place] = str(failure["class"])
    for place, why in _planned(design, rows.struck, rows.struck.values()):
        status[place], reason[place] = CODES[INVALID], f"invalidated: {why}"
    return status, reason


def _planned(design: Design, keys: Iterable[str], values: Iterable[Any]) -> Iterable[tuple[int, Any]]:
    """The values of keys that are planned, with the places of their cells."""
    places = Keys.of(keys).places(design.keys).tolist()
    return ((place, value) for place, value in zip(places, values, strict=True) if place >= 0)


def _exclude(design: Design, answers: Answers, placed: Places, at: Places, status: Codes, reason: Objects) -> None:
    """Leave out what the plan's rules name; the first rule that matches is the reason."""
    for rule in reversed(design.config.exclude):
        wanted = rule.model_dump(exclude_none=True)
        given = ", ".join(f"{name} = {value}" for name, value in wanted.items())
        out = np.full(len(at), bool(wanted))
        for name, value in wanted.items():
            own = name in design.coded
            out &= design.coded[name].equals(value)[at] if own else answers.named[name].equals(value)[placed]
        status[at[out]], reason[at[out]] = CODES[EXCLUDED], f"excluded by plan: {given}"


def _means(scores: Scores, judged: Places, status: Codes) -> tuple[tuple[str, ...], Floats]:
    """Mean score per cell and dimension over the judgments that gave one; only cells that count have scores."""
    counted = judged >= 0
    counted[counted] = status[judged[counted]] == CODES[SCORED]
    found = np.full((len(status), len(scores.given)), np.nan)
    for column, (name, values) in enumerate(scores.given.items()):
        held = counted & ~np.isnan(values)
        counts = np.bincount(judged[held], minlength=len(status))
        sums = np.bincount(judged[held], weights=values[held], minlength=len(status))
        with np.errstate(invalid="ignore"):
            found[:, column] = sums / counts
        points = float(np.nansum(found[:, column] * counts))
        if not np.isclose(points, float(values[held].sum()), rtol=1e-9, atol=1e-6):
            raise ConservationError(f"{name}: {values[held].sum():g} points in, {points:g} out")
    return tuple(scores.given), found


def _conserve(design: Design, cell: Places, judged: Places, status: Codes, explained: int) -> None:
    """Rows in = rows out + rows explained, counted independently of the join."""
    size = len(status)
    found = dict(zip(STATUSES, np.bincount(status, minlength=len(STATUSES)).tolist(), strict=True))
    answered, has_scores = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    answered[cell[cell >= 0]], has_scores[judged[judged >= 0]] = True, True
    aside = (status == CODES[EXCLUDED]) | (status == CODES[UNPROVEN])
    checks = (
        ("planned cells", len(design.cells), sum(found.values())),
        ("samples", len(cell), explained),
        ("answers of planned cells", int((cell >= 0).sum()), int(answered.sum())),
        ("answered cells", int(answered.sum()), size - found[MISSING] - found[INVALID]),
        ("judged answers", int(has_scores.sum()), found[SCORED] + int((has_scores & aside).sum())),
    )
    for what, rows_in, rows_out in checks:
        if rows_in != rows_out:
            raise ConservationError(f"{what}: {rows_in} in, {rows_out} out and explained", where=design.name)
