"""A run as a job of a place: its frozen spec, its job, and the GPUs that it holds.

The sandbox shows a command no GPU, so a plan that needs some (`gpus`) runs in a lab without containment alone. There a
queue is asked for them, and the cards of this machine are shared out between the runs side by side. Who asks for none
is shown none on this machine.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nightlab.compute.place import NEVER_STARTED, OVER, Job, JobSpec, Place
from nightlab.errors import UsageError
from nightlab.experiments.plan import CONFIG
from nightlab.files import write_atomic
from nightlab.lab import Lab
from nightlab.runs import cards
from nightlab.runs.one import SPEC
from nightlab.runs.plan import RunCell, RunConfig, RunPlan
from nightlab.runs.result import RESULT

OPEN = "none"
"""The setting of `containment` under which a command sees the machine's devices."""


class Starter:
    """Starts the runs of a plan at a place, or finds them again; shares out the cards of this machine."""

    def __init__(self, lab: Lab, plan: RunPlan, place: Place, night: str) -> None:
        self._lab, self._plan, self._place, self._night = lab, plan, place, night
        self.resources = {"gres": f"gpu:{plan.config.gpus}"} if plan.config.gpus and not _is_here(place) else {}
        self.place = place.name
        self._held: set[Path] = set()

    def found(self, cell: RunCell, attempt: int) -> Job | None:
        """The job of an attempt, or None."""
        return self._place.find(job_key(self._plan, cell, attempt))

    def written(self, attempts: Sequence[tuple[RunCell, int]]) -> list[Job]:
        """The jobs of attempts whose specs stand at the place: a start that failed may have handed in some of them."""
        return [job for cell, attempt in attempts if (job := self.found(cell, attempt)) is not None]

    def take_up(self, attempts: Sequence[tuple[RunCell, int]]) -> dict[str, Job]:
        """The jobs that run here from before, by the run's key: their cards are theirs, and no other is shown them."""
        found: dict[str, Job] = {}
        if not _is_here(self._place):
            return found
        for cell, attempt in attempts:
            job = self.found(cell, attempt)
            if job is not None and job.state() not in OVER:
                found[cell.key] = job
                self._holds(self._plan.out(cell))
        return found

    def over(self, cell: RunCell) -> None:
        """A run has ended: its cards are free again."""
        folder = self._plan.out(cell)
        self._held.discard(folder)
        cards.free(folder)

    @property
    def gpus(self) -> int:
        """How many GPUs one run holds: on this machine those it asks for, of a queue those that it is given."""
        return self._plan.config.gpus if _is_here(self._place) else self._place.gpus(self.resources)

    @property
    def queues(self) -> bool:
        """Whether all runs are handed in at once, and wait at their place for their turn."""
        return self._place.queues

    def start(self, cell: RunCell, attempt: int) -> Job:
        """Start the job of a run, or find it again. Raises NightlabError."""
        return self._place.start(self._spec(cell, attempt))

    def start_all(self, attempts: Sequence[tuple[RunCell, int]]) -> dict[str, Job]:
        """Hand in many runs in one call, on Slurm as a job array; their jobs by the key. Raises NightlabError."""
        specs = [self._spec(cell, attempt) for cell, attempt in attempts]
        jobs = self._place.start_all(specs, self._plan.config.max_parallel)
        return {cell.key: job for (cell, _), job in zip(attempts, jobs, strict=True)}

    def stop_all(self, jobs: Sequence[Job]) -> None:
        """End jobs of runs, all at the same time; no run of the plan holds a card after it."""
        try:
            self._place.stop_all(jobs)
        finally:
            for folder in self._held:
                cards.free(folder)
            self._held.clear()

    def _spec(self, cell: RunCell, attempt: int) -> JobSpec:
        """The job of a run; the folder of the run is made ready for it."""
        config, folder = self._plan.config, self._plan.out(cell)
        if attempt_of(folder) != attempt or self._new(cell, attempt):
            (folder / RESULT).unlink(missing_ok=True)
            spec = {
                "v": 1,
                "attempt": attempt,
                "root": str(self._plan.root),
                "argv": self._plan.argv(cell, folder),
                "env": {**self._shown(folder), **config.env},
                "seconds": config.timeout_seconds,
                "memory_gb": config.memory_gb,
                "metrics": list(config.metrics),
                "metrics_from": config.metrics_from,
                "artefacts": list(config.artefacts),
                "containment": self._lab.config.containment,
            }
            write_atomic(folder / SPEC, json.dumps(spec, indent=1, ensure_ascii=False) + "\n")
        return JobSpec(
            key=job_key(self._plan, cell, attempt),
            argv=(sys.executable, "-P", "-m", "nightlab.runs.one", str(folder / SPEC)),
            cwd=str(self._plan.root),
            lease_seconds=self._lab.config.lease_seconds,
            resources=self.resources,
            gpus=self._plan.config.gpus,
            owner=self._night,
        )

    def _new(self, cell: RunCell, attempt: int) -> bool:
        """Whether no process of an attempt was ever started on this machine: what was written for it may be stale."""
        if not _is_here(self._place):
            return False
        job = self.found(cell, attempt)
        return job is None or job.reason() == NEVER_STARTED

    def _shown(self, folder: Path) -> dict[str, str]:
        """The variable that says which cards of this machine a run may use; nothing where a queue says it."""
        if not _is_here(self._place):
            return {}
        if not self._plan.config.gpus:
            return {cards.SHOWN: ""}
        self._held.add(folder)
        taken = cards.take(folder, self._plan.config.gpus, cards.visible(self._place.gpus({})))
        return {cards.SHOWN: ",".join(taken)}

    def _holds(self, folder: Path) -> None:
        """A run goes on with the cards that its command was shown."""
        shown = str((_spec(folder) or {"env": {}})["env"].get(cards.SHOWN, ""))
        self._held.add(folder)
        cards.hold(folder, shown.split(",") if shown else [])


def check_gpus(lab: Lab, plan: RunPlan, place: Place) -> None:
    """Raise UsageError where the runs of a plan would see no GPU, or fewer than it asks for."""
    config, where = plan.config, plan.folder / CONFIG
    if not config.gpus:
        return
    if lab.config.containment != OPEN:
        hint = 'a lab that trusts its plans sets containment = "none" in pyproject.toml: then runs see its GPUs'
        raise UsageError(f"{needs(config)}, and the sandbox shows a command none", where=where, hint=hint)
    if _is_here(place) and (there := place.gpus({})) < config.gpus * config.max_parallel:
        hint = "lower max_parallel or gpus, or run it at a place that has more"
        what = f"{needs(config)}, {config.max_parallel} side by side; this machine shows {there}"
        raise UsageError(what, where=where, hint=hint)


def needs(config: RunConfig) -> str:
    """What a plan asks of GPUs, as the beginning of a sentence."""
    return f"each run needs {config.gpus} GPU{'s' if config.gpus > 1 else ''}"


def job_key(plan: RunPlan, cell: RunCell, attempt: int) -> str:
    """The name of the job of one attempt of a run, for ever."""
    return f"{plan.name}/{cell.key}/{attempt}"


def attempt_of(folder: Path) -> int | None:
    """Which attempt a run's folder is of."""
    spec = _spec(folder)
    return None if spec is None else int(spec["attempt"])


def _spec(folder: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads((folder / SPEC).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def _is_here(place: Place) -> bool:
    """Whether jobs of a place see the cards of this machine."""
    return place.name == "local"
