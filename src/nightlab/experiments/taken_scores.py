"""Scores that were imported: the rubric that they imply, and a judgment for each row that has them.

A score that is no number is not available, and its judgment's notes keep what stood there; a name under which nobody
ever gave a number is no dimension.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from nightlab.experiments.columns import number
from nightlab.experiments.foreign import Foreign
from nightlab.files import now

Ranges = dict[str, tuple[float, float]]
USUAL = (0.0, 10.0)


def ranges_of(rows: Iterable[Foreign]) -> Ranges:
    """The dimensions of foreign scores, each with a range that holds all of them."""
    found: Ranges = {}
    for row in rows:
        for name, value in row.parts.get("scores", {}).items():
            if (score := number(value)) is not None:
                low, high = found.get(dimension(name), USUAL)
                found[dimension(name)] = (min(low, score), max(high, score))
    return found


def rubric_of(ranges: Ranges) -> str:
    """A rubric with these dimensions."""
    dimensions = {
        name: {"range": [low, high], "question": f"How much {name}?", "anchors": {low: "None.", high: "All."}}
        for name, (low, high) in (ranges or {"score": USUAL}).items()
    }
    front = yaml.safe_dump({"name": "imported", "version": 1, "dimensions": dimensions}, sort_keys=False)
    return f"---\n{front}---\nThe scores were imported; by which words they were asked for is not known.\n"


def judgments_of(placed: Iterable[tuple[str, Foreign]], ranges: Ranges, rubric: str) -> list[dict[str, Any]]:
    """A judgment for each row with its cell; a judge's second one of a cell is a repeat."""
    seen: Counter[tuple[str, str]] = Counter()
    written = []
    for key, row in placed:
        judge = slug(str(row.parts.get("judge") or "imported"), "judge")
        scores, odd = _scores(row.parts["scores"], ranges)
        origin = {"imported": True, "from": row.where} | ({"rest": dict(row.rest)} if row.rest else {})
        made = {"key": key, "judge": judge, "repeat": seen[key, judge], "scores": scores}
        made |= {"notes": {"imported": odd} if odd else {}, "rubric": rubric, "packet": None, "position": None}
        written.append(made | {"t": now(), "origin": origin})
        seen[key, judge] += 1
    return written


def fault_of(row: Foreign, ranges: Ranges) -> str:
    """Why the scores of a row cannot become a judgment; empty where they can."""
    names = [dimension(name) for name in row.parts["scores"]]
    if len(set(names)) < len(names):
        return "two of its scores have one name"
    return "" if any(name in ranges for name in names) else "scores that are no numbers"


def _scores(given: Mapping[Any, Any], ranges: Ranges) -> tuple[dict[str, float | None], dict[str, Any]]:
    """The scores by dimension, and what stood there where more or other than a number did."""
    scores = {dimension(name): number(value) for name, value in given.items() if dimension(name) in ranges}
    missing = (None, "")
    odd = {dimension(n): value for n, value in given.items() if value not in missing and not _told(value)}
    return scores, odd


def _told(value: object) -> bool:
    """Whether the number of a score says all of it."""
    return not isinstance(value, Mapping) and number(value) is not None


def dimension(name: object) -> str:
    """The name of a dimension as a rubric can have it: it begins with a letter, and has no points."""
    found = re.sub(r"[^A-Za-z0-9_-]+", "-", slug(str(name), "score")).strip("-_")
    return found if found[:1].isalpha() else f"d{found}"


def slug(text: str, fallback: str) -> str:
    """A text as a name: letters, digits and a few signs, 60 at most."""
    found = re.sub(r"[^A-Za-z0-9_.+-]+", "-", text).strip("-.+_")[:60]
    return found or fallback
