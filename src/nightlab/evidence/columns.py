"""Rows as columns: names as codes, keys in their order, scores as numbers; made once, when rows are read or planned.

A join of columns costs a few comparisons of arrays: a million rows of a file meet the cells of their plan in less than
a second, with every check. Nothing is lost on the way: a column has one entry for each row, and a value that is no
number where a number belongs is refused, not guessed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nightlab.errors import ConservationError
from nightlab.experiments.cells import KEY_DIGITS
from nightlab.files import canonical

Places = NDArray[np.int64]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

LABELS = ("model", "condition", "prompt", "replicate")
"""What a sample says of its cell besides the key."""


@dataclass(frozen=True)
class Coded:
    """A column of names: its levels in order of appearance, and the level of each row as a number."""

    levels: tuple[Any, ...]
    codes: NDArray[np.int32]

    @classmethod
    def of(cls, values: Sequence[Any]) -> Coded:
        """The column of some values; lists and objects, which no name is, are coded as their JSON."""
        known: dict[Any, int] = {}
        try:
            codes = [known.setdefault(value, len(known)) for value in values]
        except TypeError:
            return cls.of([canonical(value) if isinstance(value, list | dict) else value for value in values])
        return cls(tuple(known), np.array(codes, dtype=np.int32))

    def equals(self, level: object) -> Mask:
        """Which rows have a level."""
        return self.among({level})

    def among(self, levels: Iterable[object]) -> Mask:
        """Which rows have one of some levels."""
        wanted = set(levels)
        return np.array([level in wanted for level in self.levels], dtype=bool)[self.codes]

    def take(self, rows: Places) -> Coded:
        """Some rows of the column."""
        return Coded(self.levels, self.codes[rows])

    def objects(self) -> NDArray[Any]:
        """The names themselves."""
        levels = np.empty(len(self.levels), dtype=object)
        levels[:] = self.levels
        return levels[self.codes]

    def differs(self, other: Coded, at: Places) -> Places:
        """The rows whose name is not that of `other` in the row `at`."""
        same = {level: code for code, level in enumerate(other.levels)}
        own = np.array([same.get(level, -1) for level in self.levels], dtype=np.int32)[self.codes]
        return np.flatnonzero(own != other.codes[at])


@dataclass(frozen=True)
class Keys:
    """Keys in their sorted order, so that two files of them meet without a look-up for each."""

    ordered: NDArray[np.bytes_]
    order: Places

    @classmethod
    def of(cls, keys: Iterable[object]) -> Keys:
        """Sort some keys. One that is longer than a cell's, or no plain text, is that of no cell, and stays so."""
        plain = [key if isinstance(key, str) else ascii(key) for key in keys]
        whole = "".join(plain)
        if not whole.isascii() or "\0" in whole:
            plain = [key if key.isascii() and "\0" not in key else ascii(key) for key in plain]
        column = np.array(plain, dtype=f"S{KEY_DIGITS + 1}")
        order = np.argsort(column, kind="stable")
        return cls(column[order], order)

    def places(self, planned: Keys) -> Places:
        """Where each key stands among the planned ones, none of which stands twice; -1 for one that was not planned."""
        found = np.full(len(self.order), -1, dtype=np.int64)
        if len(planned.order):
            near = np.minimum(np.searchsorted(planned.ordered, self.ordered), len(planned.order) - 1)
            found[self.order] = np.where(planned.ordered[near] == self.ordered, planned.order[near], -1)
        return found


@dataclass(frozen=True)
class Answers:
    """The samples as columns, in the order of their file."""

    keys: Keys
    named: Mapping[str, Coded]
    """LABELS, `server` and `finish_reason`."""

    @classmethod
    def of(cls, samples: Mapping[str, Mapping[str, Any]]) -> Answers:
        """The columns of samples by key."""
        rows = samples.values()
        fields = (*LABELS, "finish_reason")
        named = {field: Coded.of([row.get(field) for row in rows]) for field in fields}
        named["server"] = Coded.of([str(row.get("server")) for row in rows])
        return cls(Keys.of(samples), named)

    def __len__(self) -> int:
        return len(self.keys.order)


@dataclass(frozen=True)
class Scores:
    """The judgments as columns: which sample each is of, and what it gave in each dimension (NaN: nothing)."""

    of_sample: Places
    given: Mapping[str, Floats]

    @classmethod
    def of(cls, judgments: Mapping[str, Sequence[Mapping[str, Any]]], samples: Mapping[str, object]) -> Scores:
        """The columns of judgments by key. Raises ConservationError for a score that is no number."""
        number = {key: place for place, key in enumerate(samples)}
        at = [number[key] for key, rows in judgments.items() for _ in rows]
        rows = [row for rows in judgments.values() for row in rows]
        scores = [row.get("scores") for row in rows]
        if wrong := next((row for row, said in zip(rows, scores, strict=True) if not isinstance(said, dict)), None):
            raise ConservationError(f"the judgment of {wrong['key']} has no `scores`", hint=_HINT)
        known: Any = scores
        names = dict.fromkeys(name for said in known for name in said)
        given = {name: _numbers([said.get(name) for said in known], name, rows) for name in names}
        return cls(np.array(at, dtype=np.int64), given)


_HINT = "restore judgments.jsonl from git, or judge the answer again"


def _numbers(values: list[Any], name: str, rows: Sequence[Mapping[str, Any]]) -> Floats:
    """Scores as numbers; null is NaN."""
    if set(map(type, values)) <= {float, int, type(None)}:
        found = np.array(values, dtype=np.float64)
        if not np.isinf(found).any():
            return found
    first = next(place for place, value in enumerate(values) if not _is_score(value))
    what = f"the judgment of {rows[first]['key']} gives {name} the score {values[first]!r}, which is no number"
    raise ConservationError(what, hint=_HINT)


def _is_score(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and not math.isinf(value))
