"""A rubric: Markdown with front matter that says which dimensions a text is scored on, what the numbers mean, and by
which markers.

The body is read by judges that can read; the markers (regular expressions with points, published in the file) by the
embedded one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator

from nightlab import front_matter
from nightlab.errors import RubricError
from nightlab.experiments.gold import Gold, gold_text, read_gold
from nightlab.experiments.mistakes import sentence
from nightlab.experiments.predictions import Name, Record
from nightlab.files import parse_yaml, read_text, sha256_text

SHA_DIGITS = 16


@dataclass(frozen=True)
class Marker:
    """A pattern (upper and lower case alike) and the points that a text gets once if it occurs."""

    pattern: str
    points: float
    regex: re.Pattern[str]


@dataclass(frozen=True)
class Dimension:
    """One thing that is scored: its range, the question to the judge, what some numbers mean, its markers."""

    range: tuple[float, float]
    question: str
    anchors: Mapping[float, str]
    markers: tuple[Marker, ...]

    def holds(self, score: float) -> bool:
        """Whether a score lies in the range."""
        return self.range[0] <= score <= self.range[1]


@dataclass(frozen=True)
class Rubric:
    """A rubric as read; `sha256` is of the whole file and its gold, so that a judgment names what it was made by."""

    name: str
    version: int
    dimensions: Mapping[str, Dimension]
    body: str
    sha256: str
    path: Path
    gold: tuple[Gold, ...] = ()

    @classmethod
    def load(cls, path: Path) -> Rubric:
        """Read a rubric file. Raises RubricError with the file, the key and the nearest valid one."""
        found = front_matter.parts(read_text(path, RubricError))
        if found is None:
            hint = "the first line is ---, then name, version and dimensions in YAML, then a line ---, then the text"
            raise RubricError("the rubric has no front matter", where=f"{path}:1", hint=hint)
        fields = parse_yaml(found[0], path, RubricError, first_line=2)
        if not isinstance(fields, dict):
            raise RubricError("the front matter is no mapping of keys to values", where=f"{path}:2")
        try:
            front = _Front.model_validate(fields)
        except ValidationError as error:
            what, hint_ = sentence(error, _Front)
            raise RubricError(what, where=path, hint=hint_) from None
        dimensions = {name: _dimension(part) for name, part in front.dimensions.items()}
        gold = read_gold(path, front.gold, {name: dimension.range for name, dimension in dimensions.items()})
        return cls(front.name, front.version, dimensions, found[1].strip(), rubric_sha256(path), path, gold)

    @property
    def without_markers(self) -> list[str]:
        """The dimensions that the embedded judge cannot score."""
        return [name for name, dimension in self.dimensions.items() if not dimension.markers]

    @property
    def sha(self) -> str:
        """The first digits of the hash, as judgments carry it."""
        return self.sha256[:SHA_DIGITS]


def rubric_sha256(path: Path) -> str:
    """The hash of a rubric file, together with the gold file beside it where there is one. Raises RubricError."""
    text, gold = read_text(path, RubricError), gold_text(path)
    return sha256_text(f"{text}\0{gold}" if gold else text)


class _Marker(Record):
    pattern: Name
    points: float

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        return value


class _Dimension(Record):
    range: tuple[float, float]
    question: Name
    anchors: dict[float, Name] = Field(default_factory=dict)
    markers: list[_Marker] = Field(default_factory=list)

    @field_validator("range")
    @classmethod
    def _rises(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not value[0] < value[1]:
            raise ValueError(f"must rise, as in [0, 10], not [{value[0]:g}, {value[1]:g}]")
        return value

    @field_validator("anchors")
    @classmethod
    def _in_range(cls, value: dict[float, str], info: Any) -> dict[float, str]:
        low, high = info.data.get("range", (float("-inf"), float("inf")))
        for number in value:
            if not low <= number <= high:
                raise ValueError(f"has an anchor at {number:g}, outside of the range [{low:g}, {high:g}]")
        return value


class _Front(Record):
    name: Name
    version: int = Field(ge=1)
    dimensions: dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")], _Dimension] = Field(min_length=1)
    gold: list[dict[str, Any]] = Field(default_factory=list)


def _dimension(part: _Dimension) -> Dimension:
    markers = tuple(Marker(m.pattern, m.points, re.compile(m.pattern, re.IGNORECASE)) for m in part.markers)
    return Dimension(part.range, part.question, part.anchors, markers)
