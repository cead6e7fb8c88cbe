"""The freeze of an experiment of either kind, with the power of its plan: what comes before any of its data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nightlab.experiments.check import first_error
from nightlab.experiments.freeze import freeze, lacks_power
from nightlab.experiments.lock import read_lock
from nightlab.experiments.plan import Plan
from nightlab.night.blindness import check_blindness
from nightlab.runs.freeze import freeze_run
from nightlab.runs.plan import RunPlan, kind_of


@dataclass(frozen=True)
class FrozenExperiment:
    """A fixed plan: its hash, its cells, the message of its commit, and its power where that was simulated just now."""

    sha256: str
    cells: int
    message: str
    power: str = ""


def freeze_experiment(folder: Path) -> FrozenExperiment:
    """Fix the plan of a folder; one that is fixed stays as it is, and gets its power where a freeze was cut off.

    Raises FrozenError, PlanError, RubricError and what else keeps a plan from running.
    """
    if kind_of(folder) == "run":
        runs = RunPlan.load(folder)
        frozen = freeze_run(runs)
        return FrozenExperiment(frozen.sha256, frozen.cells, _message(folder, runs.question))
    plan = Plan.load(folder)
    if read_lock(folder) is None and (error := first_error(check_blindness(plan))):
        raise error
    frozen = freeze(plan)
    power = ""
    if lacks_power(folder):
        from nightlab.evidence.power import ensure_power, verdict_on_plan  # heavy, and needed once for a plan

        power = verdict_on_plan(ensure_power(plan))
    return FrozenExperiment(frozen.sha256, frozen.cells, _message(folder, plan.question), power)


def _message(folder: Path, question: str) -> str:
    return f"{folder.name}: the plan is frozen before any data\n\n{question}"
