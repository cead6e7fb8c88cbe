"""The join behind the table: planned cells, samples and judgments by cell key, all at once, with nothing lost.

Everything is an array over the planned cells: a million of them take about a second. Sums are checked on the way: as
many samples, judgments and points go in as come out or are explained; else a ConservationError says what is missing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightlab.errors import ConservationError
from nightlab.evidence.design import Design
from nightlab.evidence.rows import Row, Rows
from nightlab.evidence.stats import Floats

Objects = NDArray[Any]
Places = NDArray[np.int64]
Codes = NDArray[np.int8]

SCORED, UNJUDGED, MISSING, EXCLUDED, UNPROVEN = "scored", "unjudged", "missing", "excluded", "unproven"
INVALID = "invalid"
STATUSES = (SCORED, UNJUDGED, MISSING, EXCLUDED, UNPROVEN, INVALID)
CODES = {name: code for code, name in enumerate(STATUSES)}
LABELS = ("model", "condition", "prompt", "replicate")


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
    samples = list(rows.samples.values())
    places = _places(design, rows.samples)
    here = places >= 0
    placed = samples if here.all() else list(itertools.compress(samples, here))
    at = places[here]
    _refuse_other_labels(design, placed, at)
    status, reason = _unanswered(design, rows)
    status[at], reason[at] = CODES[UNJUDGED], "not judged"
    judged = _places(design, rows.judgments)
    known = judged[judged >= 0]
    status[known], reason[known] = CODES[SCORED], ""
    _exclude(design, placed, at, status, reason)
    if passed is not None:
        unproven = at[[str(row.get("server")) not in passed for row in placed]]
        status[unproven], reason[unproven] = CODES[UNPROVEN], "no passed canary for its server"
    unplanned = tuple(itertools.compress(samples, ~here))
    dimensions, scores = _scores(rows, judged, status)
    _conserve(design, rows, status, len(placed), len(unplanned))
    return Joined(status, reason, dimensions, scores, unplanned)


def _places(design: Design, keys: Iterable[str]) -> Places:
    """Where in the plan each key stands; -1 for one that was not planned."""
    found = map(design.positions.get, keys, itertools.repeat(-1))
    return np.fromiter(found, dtype=np.int64)


def _unanswered(design: Design, rows: Rows) -> tuple[Codes, Objects]:
    """The statuses and reasons that cells have before any answer is looked at."""
    count = len(design.cells)
    status, reason = np.full(count, CODES[MISSING], dtype=np.int8), np.full(count, "never asked", dtype=object)
    for key, failure in rows.failures.items():
        if (place := design.positions.get(key)) is not None:
            reason[place] = str(failure["class"])
    for key, why in rows.struck.items():
        if (place := design.positions.get(key)) is not None:
            status[place], reason[place] = CODES[INVALID], f"invalidated: {why}"
    return status, reason


def _refuse_other_labels(design: Design, placed: list[Row], at: Places) -> None:
    """A sample's names are those that the plan gives its key."""
    for field in LABELS:
        said = [row.get(field) for row in placed]
        planned = design.columns[field][at]
        if said == planned.tolist():
            continue
        wrong = [place for place, (own, other) in enumerate(zip(said, planned, strict=True)) if own != other]
        if wrong:
            first = wrong[0]
            raise ConservationError(
                f"sample {placed[first]['key']} says {field} {said[first]!r}, the plan says {planned[first]!r}",
                where=design.name,
                hint="a label was changed after the answer: restore samples.jsonl from git",
            )


def _exclude(design: Design, placed: list[Row], at: Places, status: Codes, reason: Objects) -> None:
    """Leave out what the plan's rules name; the first rule that matches is the reason."""
    for rule in reversed(design.config.exclude):
        given = ", ".join(f"{name} = {value}" for name, value in rule.model_dump(exclude_none=True).items())
        categories = design.columns["category"]
        out = at[[rule.matches({**row, "category": categories[p]}) for row, p in zip(placed, at, strict=True)]]
        status[out], reason[out] = CODES[EXCLUDED], f"excluded by plan: {given}"


def _scores(rows: Rows, judged: Places, status: Codes) -> tuple[tuple[str, ...], Floats]:
    """Mean score per cell and dimension over the judgments that gave one; only cells that count have scores."""
    groups = list(rows.judgments.values())
    given = [row["scores"] for group in groups for row in group]
    dimensions = tuple(dict.fromkeys(itertools.chain.from_iterable(given)))
    sizes = np.fromiter(map(len, groups), dtype=np.int64, count=len(groups))
    at = np.repeat(judged, sizes)
    counted = at >= 0
    counted[counted] = status[at[counted]] == CODES[SCORED]
    scores = np.full((len(status), len(dimensions)), np.nan)
    for column, name in enumerate(dimensions):
        values = np.array([found.get(name) for found in given], dtype=np.float64)
        held = counted & ~np.isnan(values)
        counts = np.bincount(at[held], minlength=len(status))
        sums = np.bincount(at[held], weights=values[held], minlength=len(status))
        with np.errstate(invalid="ignore"):
            scores[:, column] = sums / counts
        points = float(np.nansum(scores[:, column] * counts))
        if not np.isclose(points, float(values[held].sum()), rtol=1e-9, atol=1e-6):
            raise ConservationError(f"{name}: {values[held].sum():g} points in, {points:g} out")
    return dimensions, scores


def _conserve(design: Design, rows: Rows, status: Codes, placed: int, unplanned: int) -> None:
    """Rows in = rows out + rows explained, counted independently of the join."""
    planned = design.positions.keys()
    found = dict(zip(STATUSES, np.bincount(status, minlength=len(STATUSES)).tolist(), strict=True))
    aside = np.flatnonzero((status == CODES[EXCLUDED]) | (status == CODES[UNPROVEN])).tolist()
    judged_aside = sum(design.cells[place].key in rows.judgments for place in aside)
    unanswered = found[MISSING] + found[INVALID]
    checks = (
        ("planned cells", len(design.cells), sum(found.values())),
        ("samples", len(rows.samples), placed + unplanned),
        ("answers of planned cells", sum(map(planned.__contains__, rows.samples)), len(design.cells) - unanswered),
        ("judged answers", sum(map(planned.__contains__, rows.judgments)), found[SCORED] + judged_aside),
    )
    for what, rows_in, rows_out in checks:
        if rows_in != rows_out:
            raise ConservationError(f"{what}: {rows_in} in, {rows_out} out and explained", where=design.name)
