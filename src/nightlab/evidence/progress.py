"""How far an experiment is, from its files alone: what is planned, asked, judged, analysed and reported.

Counts come from line scans, not from the models, so that a situation is cheap on any machine.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nightlab.errors import NightlabError
from nightlab.experiments.lock import read_lock
from nightlab.experiments.looks import Schedule, called_cells
from nightlab.experiments.marks import MARKS
from nightlab.experiments.plan import Plan
from nightlab.experiments.rubric import Rubric
from nightlab.experiments.samples import SAMPLES, Samples
from nightlab.judging.rows import JUDGMENTS, counts, read_judgments
from nightlab.lab import Lab
from nightlab.runs.plan import RunPlan, kind_of
from nightlab.runs.standing import missing_runs

RUNS = "runs"
"""What stands for the model in the sweep of an experiment of `kind: run`."""


@dataclass(frozen=True)
class Progress:
    """One experiment: counts by model, and what its next step builds on. `problem`: why its plan cannot be read."""

    experiment: str
    kind: str = "sample"
    question: str = ""
    frozen: bool = False
    planned: dict[str, int] = field(default_factory=dict)
    answered: dict[str, int] = field(default_factory=dict)
    judged: int = 0
    judgments_planned: int = 0
    analyzed: bool = False
    reported: bool = False
    adaptive: bool = False
    problem: str | None = None

    @property
    def missing(self) -> dict[str, int]:
        """Cells without an answer, for each model that has some."""
        gaps = {model: planned - self.answered.get(model, 0) for model, planned in self.planned.items()}
        return {model: gap for model, gap in gaps.items() if gap > 0}

    def as_data(self) -> dict[str, Any]:
        """The record as tools and the situation show it."""
        return asdict(self) | {"missing": self.missing}


def progress(lab: Lab, name: str) -> Progress:
    """How far an experiment is. Raises UsageError where there is none of that name."""
    folder = lab.experiment(name)
    try:
        if kind_of(folder) == "run":
            return _runs(RunPlan.load(folder))
        plan = Plan.load(folder)
        frozen = read_lock(folder) is not None
        rubric = Rubric.load(plan.rubric)
    except NightlabError as error:
        return Progress(folder.name, problem=str(error))
    called = called_cells(plan) if frozen else None
    each = len(plan.conditions) * len(plan.prompts) * plan.config.factors.replicates
    planned = {model.name: each for model in plan.models}
    if called is not None and Schedule.of(plan.config).adaptive:
        planned = {model.name: len(called.of_model(model.name)) for model in plan.models}
    answered = Counter(str(row["model"]) for row in Samples(folder).rows())
    judgments = {
        (row["key"], row["judge"], row["repeat"])
        for row in read_judgments(folder)
        if row["rubric"] == rubric.sha and counts(row)
    }
    return Progress(
        experiment=folder.name,
        question=plan.question,
        frozen=frozen,
        planned=planned,
        answered=dict(answered),
        adaptive=Schedule.of(plan.config).adaptive,
        judged=len(judgments),
        judgments_planned=sum(answered.values()) * plan.judge.repeats,
        analyzed=_newer(folder / "claims.yaml", folder),
        reported=_newer(folder / "report.md", folder),
    )


def _runs(plan: RunPlan) -> Progress:
    """How far an experiment of `kind: run` is: its runs stand where a model's cells would."""
    with contextlib.closing(Samples(plan.folder)) as samples:
        made = len(samples.keys())
        missing = len(missing_runs(plan, samples))
    return Progress(
        experiment=plan.name,
        kind="run",
        question=plan.question,
        frozen=read_lock(plan.folder) is not None,
        planned={RUNS: made + missing},
        answered={RUNS: made},
        analyzed=_newer(plan.folder / "claims.yaml", plan.folder),
        reported=_newer(plan.folder / "report.md", plan.folder),
    )


def _newer(result: Path, folder: Path) -> bool:
    """Whether a result is there and not older than the rows it was made from."""
    if not result.is_file():
        return False
    rows = [folder / SAMPLES, folder / JUDGMENTS, folder / MARKS]
    return all(result.stat().st_mtime_ns >= p.stat().st_mtime_ns for p in rows if p.is_file())
