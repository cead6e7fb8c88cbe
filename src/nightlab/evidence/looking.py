"""Taking a look: the verdicts at this moment's data, and which groups still need replicates.

A look is taken when every cell that was called for has been asked and judged (or failed); until then the last one
stands. It is a line of looks.jsonl, durable before anything is asked because of it.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightlab.evidence.design import Design, read_design
from nightlab.evidence.family import can_still_decide, evaluate_all
from nightlab.evidence.predict import Verdict
from nightlab.evidence.stats import RESAMPLES
from nightlab.evidence.table import MISSING, Table
from nightlab.experiments.looks import LOOKS, Group, Look, Schedule, read_looks
from nightlab.files import JsonLines, now


@dataclass(frozen=True)
class Looked:
    """Where an adaptive plan stands after a look: the look, the cells that are called for and not asked yet, by model,
    the cells called for in all, and the full grid.
    """

    look: Look
    more: Mapping[str, int]
    cells: int
    full: int

    @property
    def saving(self) -> float:
        """The share of the full grid that was not called for."""
        return 1 - self.cells / self.full

    def document(self) -> dict[str, Any]:
        """A JSON value for tools and events."""
        look = {"number": self.look.number, "of": self.look.of, "verdicts": dict(self.look.verdicts)}
        return {
            **look,
            "more": dict(self.more),
            "cells": self.cells,
            "full": self.full,
            "saving": round(self.saving, 4),
        }


def take_look(
    folder: Path, *, servers: Sequence[Mapping[str, Any]] | None = None, resamples: int = RESAMPLES
) -> Looked | None:
    """Look at an adaptive experiment, or tell what the last look still waits for; None for any other plan.

    Raises FrozenError, ConservationError, StorageError.
    """
    design = read_design(folder)
    schedule = Schedule.of(design.config)
    if not schedule.adaptive:
        return None
    table = Table.from_experiment(folder, design, servers=servers, resamples=resamples)
    looks = read_looks(folder)
    waiting = _unasked(table)
    last = looks[-1] if looks else Look(0, schedule.count, {}, {})
    if waiting or (looks and (last.number >= schedule.count or not _grew(looks))):
        return _looked(design, last, waiting, schedule)
    look = decide(table, schedule, last.called, last.number + 1)
    with contextlib.closing(JsonLines(folder / LOOKS)) as store:
        store.append({**look.document(), "t": now()})
    design = read_design(folder)
    return _looked(design, look, _unasked(Table.from_experiment(folder, design, servers=servers)), schedule)


def decide(table: Table, schedule: Schedule, called: Mapping[Group, int], number: int) -> Look:
    """The look at a table: further replicates for the groups of undecided hypotheses, as long as there are looks."""
    verdicts = evaluate_all(table)
    still = [verdict for verdict in verdicts if can_still_decide(verdict, table.design.config)]
    wanted = dict(called)
    if number < schedule.count:
        for group in dict.fromkeys(pair for verdict in still for pair in _pairs(table, verdict)):
            have = called.get(group, schedule.first)
            dimensions = [v.dimension for v in still if group in set(_pairs(table, v))]
            if have < schedule.most and _wide(table, group, dimensions, schedule.width):
                wanted[group] = min(schedule.most, have + schedule.every)
    return Look(number, schedule.count, {verdict.id: verdict.verdict for verdict in verdicts}, wanted)


def _pairs(table: Table, verdict: Verdict) -> Iterator[Group]:
    """The models and conditions that a verdict rests on."""
    for group in verdict.groups:
        for model in table.design.models:
            for condition in table.design.conditions:
                if group.get("model", model) == model and group.get("condition", condition) == condition:
                    yield model, condition


def _wide(table: Table, group: Group, dimensions: Sequence[str], width: float | None) -> bool:
    """Whether an interval of a group is wider than the plan asks for, or there is none yet."""
    if width is None:
        return True
    where = {"model": group[0], "condition": group[1]}
    known = [name for name in dimensions if name in table.dimensions]
    found = [table.means(name, [where]).estimate(0) for name in known]
    return not found or any(not e.has_interval or e.high - e.low > width for e in found)


def _unasked(table: Table) -> Counter[str]:
    """Cells called for that nobody has asked yet, by model; those that failed were asked."""
    return Counter(
        cell.model
        for cell, fate in zip(table.cells, table.fates, strict=True)
        if fate.status == MISSING and cell.key not in table.rows.failures
    )


def _grew(looks: Sequence[Look]) -> bool:
    """Whether the last look called for more than the one before."""
    before = looks[-2].called if len(looks) > 1 else {}
    return dict(looks[-1].called) != dict(before)


def _looked(design: Design, look: Look, waiting: Mapping[str, int], schedule: Schedule) -> Looked:
    blocks = len(design.models) * len(design.conditions) * len(design.levels["prompt"])
    return Looked(look, waiting, len(design.cells), blocks * schedule.most)
