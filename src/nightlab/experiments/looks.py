"""Looks: when a plan lets its data decide how many replicates a group needs, and which cells are called for so far.

`stop: {max_replicates: 4, ci_width: 1.5}` asks every cell `factors.replicates` times, looks at the verdicts, and calls
for `look_every` further replicates of those groups alone whose hypothesis is undecided and whose interval is wider than
`ci_width`. How often may be looked is fixed by the plan (`count`), and every test at a look is made at its share of the
5 % (an equal spending of the error, so that repeated looks stay within it: Pocock 1977, Biometrika 64(2); Lan & DeMets
1983, Biometrika 70(3); the equal shares hold whatever the dependence between looks). looks.jsonl has one line for each
look that was taken; the frozen grid has all replicates, the lines say which part of it was called for.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightlab.experiments.cells import Cells, Chosen, cells
from nightlab.experiments.plan import Plan
from nightlab.experiments.schema import Config
from nightlab.files import JsonLines

LOOKS = "looks.jsonl"

Group = tuple[str, str]
"""A model under a condition."""


@dataclass(frozen=True)
class Schedule:
    """The looks that a plan allows: at `first` replicates, then every `every` further ones up to `most`."""

    first: int
    most: int
    every: int
    width: float | None

    @classmethod
    def of(cls, config: Config) -> Schedule:
        """The schedule of a plan; of one without `max_replicates` a single look."""
        stop, first = config.stop, config.factors.replicates
        return cls(first, max(first, stop.max_replicates or first), stop.look_every, stop.ci_width)

    @property
    def count(self) -> int:
        """How many looks there can be."""
        return 1 + -(-(self.most - self.first) // self.every)

    @property
    def adaptive(self) -> bool:
        """Whether the data decide on replicates."""
        return self.count > 1


@dataclass(frozen=True)
class Look:
    """One look that was taken: the verdicts, and the replicates that each group has been called for since."""

    number: int
    of: int
    verdicts: Mapping[str, str]
    called: Mapping[Group, int]

    def document(self) -> dict[str, Any]:
        """The look as a line of the file."""
        called: dict[str, dict[str, int]] = {}
        for (model, condition), count in self.called.items():
            called.setdefault(model, {})[condition] = count
        return {"v": 1, "look": self.number, "of": self.of, "verdicts": dict(self.verdicts), "called": called}


def read_looks(folder: Path) -> list[Look]:
    """The looks that were taken, oldest first. Raises StorageError."""
    return [_look(row) for row in JsonLines(folder / LOOKS).read()]


def _look(row: Mapping[str, Any]) -> Look:
    called = {(model, name): int(count) for model, counts in row["called"].items() for name, count in counts.items()}
    return Look(int(row["look"]), int(row["of"]), dict(row["verdicts"]), called)


def called_for(folder: Path, schedule: Schedule) -> Mapping[Group, int]:
    """The replicates that the last look called for, by group; a group that it does not name has the first ones."""
    looks = read_looks(folder) if schedule.adaptive else []
    return looks[-1].called if looks else {}


def called_positions(grid: Cells, called: Mapping[Group, int], schedule: Schedule) -> Iterator[int]:
    """The positions of the cells of the full grid that were called for."""
    for position in range(len(grid)):
        replicate = position % schedule.most
        if replicate < schedule.first or replicate < called.get(grid.place(position), schedule.first):
            yield position


def called_cells(plan: Plan) -> Cells | Chosen:
    """The cells that are to be asked by now: of an adaptive plan those called for, else all."""
    grid, schedule = cells(plan), Schedule.of(plan.config)
    if not schedule.adaptive:
        return grid
    called = called_for(plan.folder, schedule)
    return Chosen(grid, array("I", called_positions(grid, called, schedule)))
