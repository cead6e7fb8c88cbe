"""Rows under declared keys: every transform gives back as many rows as it got, or says why some are gone, or raises.

The table joins samples and judgments to planned cells; a frame is how its rows are worked on from there, in a notebook
or an analysis of one's own. `keys` name a row: none is missing and none stands twice. A row may stand for several of
the start (`group`); how many is its `rows`. So at any point rows here + rows explained = rows at the start. Limit: what
a transform does to other columns is its own affair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from nightlab.errors import ConservationError
from nightlab.evidence.design import QueryError, known_name

if TYPE_CHECKING:
    import pandas as pd

ROWS = "rows"


@dataclass(frozen=True)
class Frame:
    """A data frame with the keys of its rows, how many rows there were at the start, and why some are gone.

    Raises ConservationError for keys that are missing or stand twice, and for rows that nobody explains.
    """

    data: pd.DataFrame
    keys: tuple[str, ...]
    began: int
    explained: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, data: pd.DataFrame, *keys: str) -> Frame:
        """A frame at its start."""
        return cls(data, keys, len(data))

    def __post_init__(self) -> None:
        if not self.keys:
            raise QueryError("no key names the rows", where="a transform", hint="declare what tells them apart")
        for name in self.keys:
            known_name("column", name, map(str, self.data.columns), "a transform")
        named = self.data[list(self.keys)]
        for words, wrong in (("lacks a key", named.isna().any(axis=1)), ("stands twice", named.duplicated())):
            if wrong.any():
                raise ConservationError(f"a row {words}: {_shown(named[wrong])}", hint=f"its keys are {self._said}")
        stand_for = int(self.data[ROWS].sum()) if ROWS in self.data else len(self.data)
        gone = sum(self.explained.values())
        if stand_for + gone != self.began:
            raise ConservationError(
                f"{self.began} rows in, {stand_for} out and {gone} explained", hint="say why rows are left out: why=..."
            )

    def keep(self, rows: ArrayLike, why: str) -> Frame:
        """The rows for which `rows` is true; the others are explained by `why`."""
        mask = np.asarray(rows, dtype=bool)
        if mask.shape != (len(self.data),):
            raise QueryError(f"{mask.size} answers to {len(self.data)} rows", where="keep")
        return self.transform(lambda data: data[mask], why=why)

    def transform(self, work: Callable[[pd.DataFrame], pd.DataFrame], why: str = "") -> Frame:
        """Any work on the rows that leaves their keys: none may appear, and those that go need a reason."""
        after = work(self.data.copy())
        for name in self.keys:
            known_name("column", name, map(str, after.columns), "a transform's result")
        before, here = self._names(self.data), self._names(after)
        if made := [name for name in here if name not in before]:
            raise ConservationError(f"{len(made)} rows were made up, the first is {made[0]}")
        gone = [name for name in before if name not in here]
        if gone and not why:
            hint = "say why rows are left out: why=..."
            raise ConservationError(f"{len(gone)} rows are gone without a reason, the first is {gone[0]}", hint=hint)
        lost = sum(before[name] for name in gone)
        return Frame(after, self.keys, self.began, self._with(why, lost))

    def join(self, other: Frame, missing: str = "") -> Frame:
        """Each row with the one row of `other` that has its keys; a row without one needs a reason to be left out.

        For how many rows those of `other` stand (`rows`) stays behind: it says nothing of the rows here.
        """
        lacking = [name for name in other.keys if name not in self.data]
        if lacking:
            raise QueryError(f"the rows have no {lacking[0]}, by which the others are named", where="join")
        theirs = other.data.drop(columns=ROWS, errors="ignore")
        clash = [str(name) for name in theirs.columns if name in self.data and name not in other.keys]
        if clash:
            raise QueryError(f"both sides have a column {clash[0]}", where="join", hint="rename one of them")
        known = other._names(other.data)
        met = [name in known for name in _tuples(self.data, other.keys)]
        there = self.keep(met, missing)
        return there.transform(lambda data: data.merge(theirs, how="left", on=list(other.keys)))

    def group(self, *keys: str, over: Sequence[str], **columns: str) -> Frame:
        """One row for each combination of `keys`; every other key is pooled, and must be declared in `over`.

        `columns` says how each column becomes one value: `sarcasm="mean"`, as pandas names it; missing is left out.
        `rows` is how many rows each stands for.
        """
        if not keys:
            raise QueryError("no key names the rows", where="group", hint="name at least one that stays")
        for name in (*keys, *columns):
            known_name("column", name, map(str, self.data.columns), "group")
        pooled = [name for name in self.keys if name not in keys and name not in over]
        if pooled:
            hint = f"declare over=[..., {pooled[0]!r}]"
            raise QueryError(f"this pools over {pooled[0]} without saying so", where="group", hint=hint)
        counted = self.data.assign(**{ROWS: self.data.get(ROWS, 1)})
        grouped = counted.groupby(list(keys), sort=False, dropna=False)
        return Frame(grouped.agg({**columns, ROWS: "sum"}).reset_index(), keys, self.began, self.explained)

    @property
    def _said(self) -> str:
        return ", ".join(self.keys)

    def _names(self, data: pd.DataFrame) -> dict[tuple[Any, ...], int]:
        """How many rows of the start each row stands for, by its keys."""
        stand_for = data[ROWS].tolist() if ROWS in data else [1] * len(data)
        return dict(zip(_tuples(data, self.keys), stand_for, strict=True))

    def _with(self, why: str, count: int) -> Mapping[str, int]:
        return dict(Counter(self.explained) + Counter({why: count}))


def _tuples(data: pd.DataFrame, keys: Sequence[str]) -> list[tuple[Any, ...]]:
    return list(zip(*(data[name].tolist() for name in keys), strict=True))


def _shown(rows: pd.DataFrame) -> str:
    return ", ".join(f"{name} {value}" for name, value in rows.iloc[0].items())
