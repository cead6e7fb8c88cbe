"""Gold items: answers whose scores people agreed on, mixed among the packets so that a judge can be audited.

They stand in the rubric's front matter under `gold`, or in `gold.yaml` beside it. Two of them may be sentinels: `base`,
as plain as an untreated answer, and `full`, as marked as a treated one; a judge that does not set them apart is no
judge. They belong to the rubric: a changed gold item changes its hash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from nightlab.errors import RubricError, nearest
from nightlab.experiments.mistakes import sentence
from nightlab.experiments.predictions import Name, Record
from nightlab.files import parse_yaml, read_text

GOLD = "gold.yaml"
TOLERANCE = 0.2
"""How far a gold item's scores may lie off, as a share of the range and a mean over its dimensions."""


@dataclass(frozen=True)
class Gold:
    """A question, an answer and its agreed scores; `sentinel` says which end of the scale it stands for."""

    id: str
    question: str
    answer: str
    scores: Mapping[str, float]
    sentinel: str | None
    tolerance: float


class _Gold(Record):
    id: Name
    question: Name
    answer: Name
    scores: dict[str, float] = Field(min_length=1)
    sentinel: Literal["base", "full"] | None = None
    tolerance: float = Field(default=TOLERANCE, gt=0, le=1)


class _Golds(Record):
    gold: list[_Gold]


def gold_text(rubric: Path) -> str:
    """The text of the gold file beside a rubric; empty where there is none."""
    path = rubric.with_name(GOLD)
    return read_text(path, RubricError) if path.is_file() else ""


def read_gold(rubric: Path, inside: Sequence[Any], ranges: Mapping[str, tuple[float, float]]) -> tuple[Gold, ...]:
    """The gold items in a rubric's front matter and beside it, checked against its dimensions. Raises RubricError."""
    found = _parse({"gold": list(inside)}, rubric)
    if text := gold_text(rubric):
        path = rubric.with_name(GOLD)
        data = parse_yaml(text, path, RubricError)
        found += _parse(data if isinstance(data, dict) else {"gold": data}, path)
    ids = [item.id for item in found]
    for item in found:
        if ids.count(item.id) > 1:
            raise RubricError(f"two gold items have the id {item.id!r}", where=rubric)
        _check(item, rubric, ranges)
    return tuple(Gold(**item.model_dump()) for item in found)


def _parse(data: dict[str, Any], path: Path) -> list[_Gold]:
    try:
        return _Golds.model_validate(data).gold
    except ValidationError as error:
        what, hint = sentence(error, _Golds)
        raise RubricError(what, where=path, hint=hint) from None


def _check(item: _Gold, rubric: Path, ranges: Mapping[str, tuple[float, float]]) -> None:
    for name, score in item.scores.items():
        if name not in ranges:
            close = nearest(name, ranges)
            hint = f"did you mean {close!r}?" if close else f"known here: {', '.join(ranges)}"
            raise RubricError(f"the gold item {item.id} scores {name!r}, no dimension", where=rubric, hint=hint)
        low, high = ranges[name]
        if not low <= score <= high:
            what = f"the gold item {item.id} gives {name} {score:g}, outside of the range [{low:g}, {high:g}]"
            raise RubricError(what, where=rubric)
