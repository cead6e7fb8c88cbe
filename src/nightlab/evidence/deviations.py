"""What differs from the frozen plan, by comparing the lock with the rows, their servers, the rubric, the prompts and
config.yaml.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nightlab.errors import NightlabError
from nightlab.evidence.asked import find_asked, find_judged
from nightlab.evidence.served import find_served
from nightlab.evidence.table import EXCLUDED, UNPROVEN, Table
from nightlab.experiments.freeze import differences, frozen_plan, frozen_serving, plan_now
from nightlab.experiments.plan import Plan
from nightlab.experiments.rubric import rubric_sha256


def find_deviations(table: Table, folder: Path, servers: Iterable[Mapping[str, Any]] = ()) -> list[str]:
    """One text for each way in which rows, servers or files differ from the frozen plan; empty where nothing does."""
    found = (_arms(table), _counted(table), find_asked(table), find_served(table, servers), find_judged(table))
    return [*itertools.chain.from_iterable(found), *_files(table, folder)]


def _arms(table: Table) -> Iterator[str]:
    for (model, condition), group in table.by("model", "condition").items():
        planned, answered = len(group.cells), group.answered()
        if answered < planned:
            missing = "; ".join(f"{reason} {count}" for reason, count in group.reasons("missing").items())
            word = "dropped" if answered == 0 else "incomplete"
            yield f"{word}: {model}, {condition}: {answered} of {planned} cells answered ({missing})"
    added = Counter((str(row.get("model")), str(row.get("condition"))) for row in table.unplanned)
    for (model, condition), count in added.items():
        yield f"added: {model}, {condition}: {count} answers to cells that are not in the plan; they are not counted"


def _counted(table: Table) -> Iterator[str]:
    excluded = table.reasons(EXCLUDED)
    yield from (f"{reason}: {count} answers are not counted" for reason, count in excluded.items())
    unproven = table.count(UNPROVEN)
    if unproven:
        yield f"{unproven} answers come from a server without a passed canary; they are not counted"


def _files(table: Table, folder: Path) -> Iterator[str]:
    """The rubric, the prompts and config.yaml of today."""
    frozen, rubric = table.design.lock.document, folder / table.design.config.judge.rubric
    if rubric.is_file() and rubric_sha256(rubric) != str(frozen["rubric"]):
        yield f"{rubric.name} differs from the frozen rubric"
    try:
        plan = Plan.load(folder)
    except NightlabError as problem:
        yield f"config.yaml can no longer be compared with the frozen plan: {problem.what}"
        return
    now, before = plan_now(plan, table.design.lock), frozen_plan(frozen)
    for key in now:
        if now[key] != before.get(key):
            yield f"`{key}` in config.yaml differs from the frozen plan"
    served = frozen_serving(table.design.lock)
    if served is not None:
        yield from differences(served, plan.serving.declared(), "config.yaml since the freeze: serving")
    prompts = {p.name: {"category": p.category, "mode": p.mode, **p.content} for p in plan.prompts}
    changed = [name for name in {**prompts, **frozen["prompts"]} if prompts.get(name) != frozen["prompts"].get(name)]
    if changed:
        yield f"prompts differ from the frozen ones: {', '.join(changed)}"
