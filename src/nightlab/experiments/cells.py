"""Cells: the product of a plan's factors, each named by the content of everything that could change its answer.

The key covers the model's id, revision and weights, the adapter as scaled, the messages or raw text, the template mode,
the sampling with its seed, and the replicate. Names do not enter: renaming a prompt keeps its answers. Two cells of one
plan with the same content (two conditions that resolve to the same weights, say) are told apart by a running number.

A cell's own seed follows from the same content without the adapter: the conditions of a model answer a prompt under one
seed, so that they differ by the treatment alone, and an adapter that does nothing answers word for word as `base`.

A product is a sequence that holds its factors only and makes each cell when it is asked for: a million cells cost no
memory, and their keys about two seconds.
"""

from __future__ import annotations

import hashlib
import itertools
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from nightlab.errors import FrozenError
from nightlab.experiments.content import (
    KEY_DIGITS,
    Cell,
    Request,
    asked_prompts,
    ingredients,
    seed_of,
    treated_models,
    twin,
)
from nightlab.experiments.identity import Treatments, treatments
from nightlab.experiments.lock import read_lock
from nightlab.experiments.plan import Plan

__all__ = [
    "KEY_DIGITS",
    "Cell",
    "Cells",
    "Chosen",
    "Request",
    "cells",
    "ingredients",
    "keys_of",
    "product",
    "seed_of",
    "tally",
]


class Cells(Sequence[Cell]):
    """The cells of a plan in canonical order (by model, condition, prompt, replicate), made when they are asked for."""

    def __init__(self, plan: Plan, treated: Treatments) -> None:
        seed = plan.sampling.seed
        self._treated = treated_models(plan, treated, seed)
        self._asked = asked_prompts(plan, seed)
        self._replicates = plan.replicates
        self._block = len(self._asked) * self._replicates
        """Cells of one model under one condition."""

    def __len__(self) -> int:
        return len(self._treated) * self._block

    def __iter__(self) -> Iterator[Cell]:
        return map(self._cell, range(len(self)))

    @overload
    def __getitem__(self, at: int) -> Cell: ...
    @overload
    def __getitem__(self, at: slice) -> list[Cell]: ...
    def __getitem__(self, at: int | slice) -> Cell | list[Cell]:
        positions = range(len(self))[at]
        return self._cell(positions) if isinstance(positions, int) else [self._cell(p) for p in positions]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(other) == len(self) and all(a == b for a, b in zip(self, other))  # noqa: B905

    __hash__ = None  # type: ignore[assignment]

    def keys(self) -> Iterator[str]:
        """All keys, in order."""
        for treated in self._treated:
            head = hashlib.sha256(treated.key_head)
            for asked in self._asked:
                tail = asked.tail + twin(treated, asked)
                for replicate in range(self._replicates):
                    digest = head.copy()
                    digest.update(b"%d%b" % (replicate, tail))
                    yield digest.hexdigest()[:KEY_DIGITS]

    def place(self, position: int) -> tuple[str, str]:
        """The model and condition of a cell by its position."""
        treated = self._treated[position // self._block]
        return treated.model, treated.condition

    def tally(self, positions: Iterable[int]) -> Counter[tuple[str, str]]:
        """How many of some positions belong to each (model, condition)."""
        blocks = Counter(position // self._block for position in positions)
        return Counter({self.place(block * self._block): count for block, count in blocks.items()})

    def of_model(self, name: str) -> Chosen:
        """The cells of one model."""
        mine = [index for index, treated in enumerate(self._treated) if treated.model == name]
        return Chosen(self, range(mine[0] * self._block, (mine[-1] + 1) * self._block) if mine else range(0))

    def _cell(self, position: int) -> Cell:
        block, rest = divmod(position, self._block)
        number, replicate = divmod(rest, self._replicates)
        treated, asked = self._treated[block], self._asked[number]
        tail = b"%d%b" % (replicate, asked.tail)
        key = hashlib.sha256(treated.key_head + tail + twin(treated, asked)).hexdigest()[:KEY_DIGITS]
        seed = int(hashlib.sha256(treated.seed_head + tail + b"}").hexdigest()[:8], 16) & 0x7FFFFFFF
        names = (treated.model, treated.model_id, treated.condition, asked.name, asked.category)
        return Cell(key, *names, replicate, seed, asked.request)


class Chosen(Sequence[Cell]):
    """Some cells of a sequence, by their positions in it."""

    def __init__(self, cells: Sequence[Cell], positions: Sequence[int]) -> None:
        self._cells, self._positions = cells, positions

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Iterator[Cell]:
        return (self._cells[position] for position in self._positions)

    @overload
    def __getitem__(self, at: int) -> Cell: ...
    @overload
    def __getitem__(self, at: slice) -> Chosen: ...
    def __getitem__(self, at: int | slice) -> Cell | Chosen:
        if isinstance(at, slice):
            return Chosen(self._cells, self._positions[at])
        return self._cells[self._positions[at]]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(other) == len(self) and all(a == b for a, b in zip(self, other))  # noqa: B905

    __hash__ = None  # type: ignore[assignment]

    def keys(self) -> Iterator[str]:
        """All keys, in order."""
        span = self._positions
        if isinstance(span, range) and isinstance(self._cells, Cells):
            return itertools.islice(self._cells.keys(), span.start, span.stop)
        return (cell.key for cell in self)

    def place(self, index: int) -> tuple[str, str]:
        """The model and condition of a cell by its place among the chosen."""
        return place(self._cells, self._positions[index])

    def tally(self) -> Counter[tuple[str, str]]:
        """How many belong to each (model, condition)."""
        if isinstance(self._cells, Cells):
            return self._cells.tally(self._positions)
        return Counter(self.place(index) for index in range(len(self)))

    def of_model(self, name: str) -> Chosen:
        """The chosen cells of one model."""
        return Chosen(self._cells, array("I", (at for at in self._positions if place(self._cells, at)[0] == name)))


def cells(plan: Plan) -> Cells:
    """The cells of a plan, by the identities it was frozen with, else those of now.

    Raises PlanError or AdapterError for what is not there, FrozenError for a factor level that was not frozen.
    """
    lock = read_lock(plan.folder)
    if lock is None:
        return product(plan, treatments(plan))
    try:
        return product(plan, lock.treatments)
    except KeyError as missing:
        name = missing.args[0]
        raise FrozenError(f"the plan has {name!r}, which was not frozen with it", where=plan.folder) from None


def product(plan: Plan, treated: Treatments) -> Cells:
    """The cells of a plan under the given identities."""
    return Cells(plan, treated)


def keys_of(cells: Sequence[Cell]) -> Iterator[str]:
    """The keys of cells, in order; those of a product are made without its cells."""
    return cells.keys() if isinstance(cells, Cells | Chosen) else (cell.key for cell in cells)


def place(cells: Sequence[Cell], position: int) -> tuple[str, str]:
    """The model and condition of the cell at a position."""
    if isinstance(cells, Cells | Chosen):
        return cells.place(position)
    return cells[position].model, cells[position].condition


def tally(cells: Sequence[Cell]) -> Counter[tuple[str, str]]:
    """How many of some cells belong to each (model, condition)."""
    return Chosen(cells, range(len(cells))).tally()
