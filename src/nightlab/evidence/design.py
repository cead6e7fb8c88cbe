"""What the frozen plan promised, read from plan.lock.json alone: the evidence is counted against this, not against
today's config.yaml.

The lock holds the configuration, the prompts and the identities of all weights, so the cells and their keys follow from
it on a machine that has neither the models nor the adapters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nightlab.errors import FrozenError, UsageError, nearest
from nightlab.evidence.columns import Coded, Keys
from nightlab.experiments.cells import Cell, product
from nightlab.experiments.freeze import frozen_config
from nightlab.experiments.lock import LOCK, Lock, read_lock
from nightlab.experiments.looks import Schedule, called_positions, read_looks
from nightlab.experiments.plan import BASE, Condition, Plan
from nightlab.experiments.predictions import Hypothesis
from nightlab.experiments.prompts import Prompt
from nightlab.experiments.schema import Config
from nightlab.files import sha256_json

FACTORS = ("model", "condition", "prompt", "category", "replicate")


class QueryError(UsageError):
    """A query speaks of something the experiment does not have, or pools over a factor without saying so."""


@dataclass(frozen=True)
class Design:
    """The frozen plan: its configuration, its cells in order, and the lock they come from."""

    name: str
    config: Config
    cells: tuple[Cell, ...]
    lock: Lock
    looks_taken: int = 0
    """Of an adaptive plan; its cells are those that were called for."""

    @cached_property
    def levels(self) -> dict[str, tuple[Any, ...]]:
        """The levels of every factor in the order of the plan; conditions: base, whole adapters, ranges."""
        found = {field: self.coded[field].levels for field in FACTORS}
        ranges = tuple(name for name in self.config.ranges if name in found["condition"])
        rest = [name for name in found["condition"] if name not in ranges]
        return {**found, "condition": (*sorted(rest, key=lambda name: name != BASE), *ranges)}

    @cached_property
    def keys(self) -> Keys:
        """The keys of the cells."""
        return Keys.of(cell.key for cell in self.cells)

    @cached_property
    def coded(self) -> Mapping[str, Coded]:
        """Each factor over the cells, as codes."""
        return {field: Coded.of([getattr(cell, field) for cell in self.cells]) for field in FACTORS}

    @cached_property
    def columns(self) -> Mapping[str, NDArray[Any]]:
        """Each factor as an array over the cells."""
        return {field: column.objects() for field, column in self.coded.items()}

    @property
    def models(self) -> tuple[str, ...]:
        """Model names."""
        return self.levels["model"]

    @property
    def conditions(self) -> tuple[str, ...]:
        """Condition names."""
        return self.levels["condition"]

    @property
    def ranges(self) -> tuple[str, ...]:
        """The ordered conditions that figures and peaks run over; every treated condition where the plan names none."""
        return tuple(self.config.ranges) or tuple(name for name in self.conditions if name != BASE)

    @property
    def hypotheses(self) -> tuple[Hypothesis, ...]:
        """The frozen hypotheses."""
        return tuple(self.config.hypotheses)

    @property
    def looks(self) -> int:
        """How many looks share the error of a test: those that the plan allows."""
        return Schedule.of(self.config).count

    @property
    def seed(self) -> int:
        """The seed of every resampling."""
        return self.config.sampling.seed

    def model_id(self, name: str) -> str:
        """The frozen id of a model."""
        return self.lock.treatments.models[name].id

    def hypothesis(self, name: str) -> Hypothesis:
        """A hypothesis by id; an unknown one raises QueryError."""
        known = {hypothesis.id: hypothesis for hypothesis in self.hypotheses}
        return known[known_name("hypothesis", name, known, self.name)]

    def check(self, factor: str, level: object) -> None:
        """Refuse a factor or a level that is not in the plan, naming the nearest one."""
        known_name("factor", factor, FACTORS, self.name)
        if level not in self.levels[factor]:
            known_name(factor, str(level), [str(known) for known in self.levels[factor]], self.name)


def known_name(what: str, name: str, known: Iterable[str], where: str) -> str:
    """The name itself if it is known; else a QueryError that names the nearest known one."""
    names = list(known)
    if name in names:
        return name
    close = nearest(name, names)
    hint = f"did you mean `{close}`?" if close else f"known here: {', '.join(names) or 'none'}"
    raise QueryError(f"no {what} `{name}` in this experiment", where=where, hint=hint)


def read_design(folder: Path) -> Design:
    """The frozen plan of an experiment folder. Raises FrozenError where there is none, or it is damaged."""
    lock = read_lock(folder)
    if lock is None:
        raise FrozenError("the plan is not frozen, so nothing can be counted against it", where=folder)
    document = lock.document
    config = frozen_config(document)
    cells = product(_plan(folder, config, lock), lock.treatments)
    if sha256_json(list(cells.keys())) != document["cells"]["sha256"]:
        hint = f"{LOCK} was written by another version of nightlab: use the one that reproduce.py names"
        raise FrozenError("the frozen cells do not follow from the frozen plan", where=folder / LOCK, hint=hint)
    schedule = Schedule.of(config)
    if not schedule.adaptive:
        return Design(folder.name, config, tuple(cells), lock)
    looks = read_looks(folder)
    called = called_positions(cells, looks[-1].called if looks else {}, schedule)
    return Design(folder.name, config, tuple(cells[position] for position in called), lock, len(looks))


def _plan(folder: Path, config: Config, lock: Lock) -> Plan:
    """The frozen plan, with its conditions by name only: their weights are in the lock's treatments."""
    adapters: Mapping[str, Mapping[str, str | None]] = lock.treatments.adapters
    names = dict.fromkeys(name for shas in adapters.values() for name in shas)
    prompts = [
        Prompt(name, frozen["category"], frozen["mode"], tuple(frozen.get("messages", ())), frozen.get("raw"))
        for name, frozen in lock.document["prompts"].items()
    ]
    return Plan(folder, folder, config, tuple(Condition(name, None, None) for name in names), tuple(prompts))
