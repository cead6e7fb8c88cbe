"""A run as a job of a place: its frozen spec, its job, and the GPUs that it holds.

The sandbox shows a command no GPU, so a plan that needs some (`gpus`) runs in a lab without containment alone. There a
queue is asked for them, and the cards of this machine are shared out between the runs side by side. Who asks for none
is shown none on this machine.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nightlab.compute.place import Job, JobSpec, Place
from nightlab.errors import UsageError
from nightlab.experiments.plan import CONFIG
from nightlab.files import write_atomic
from nightlab.lab import Lab
from nightlab.runs.one import SPEC
from nightlab.runs.plan import RunCell, RunConfig, RunPlan
from nightlab.runs.result import RESULT

SHOWN = "CUDA_VISIBLE_DEVICES"
OPEN = "none"
"""The setting of `containment` under which a command sees the machine's devices."""


class Starter:
    """Starts the runs of a plan at a place, or finds them again; shares out the cards of this machine."""

    def __init__(self, lab: Lab, plan: RunPlan, place: Place, night: str) -> None:
        self._lab, self._plan, self._place, self._night = lab, plan, place, night
        self.resources = {"gres": f"gpu:{plan.config.gpus}"} if plan.config.gpus and not _is_here(place) else {}
        self.place = place.name
        self._cards: dict[str, list[str]] = {}

    def found(self, cell: RunCell, attempt: int) -> Job | None:
        """The job of an attempt, or None."""
        return self._place.find(job_key(self._plan, cell, attempt))

    def over(self, cell: RunCell) -> None:
        """A run has ended: its cards are free again."""
        self._cards.pop(cell.key, None)

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
        """End jobs of runs, all at the same time."""
        self._place.stop_all(jobs)

    def _spec(self, cell: RunCell, attempt: int) -> JobSpec:
        """The job of a run; the folder of the run is made ready for it."""
        config, folder = self._plan.config, self._plan.out(cell)
        if attempt_of(folder) != attempt:
            (folder / RESULT).unlink(missing_ok=True)
            spec = {
                "v": 1,
                "attempt": attempt,
                "root": str(self._plan.root),
                "argv": self._plan.argv(cell, folder),
                "env": {**self._shown(cell.key), **config.env},
                "seconds": config.timeout_seconds,
                "memory_gb": config.memory_gb,
                "metrics": list(config.metrics),
                "metrics_from": config.metrics_from,
                "artefacts": list(config.artefacts),
                "containment": self._lab.config.containment,
            }
            write_atomic(folder / SPEC, json.dumps(spec, indent=1, ensure_ascii=False) + "\n")
        else:
            self._cards[cell.key] = cards_of(folder)
        return JobSpec(
            key=job_key(self._plan, cell, attempt),
            argv=(sys.executable, "-P", "-m", "nightlab.runs.one", str(folder / SPEC)),
            cwd=str(self._plan.root),
            lease_seconds=self._lab.config.lease_seconds,
            resources=self.resources,
            gpus=self._plan.config.gpus,
            owner=self._night,
        )

    def _shown(self, key: str) -> dict[str, str]:
        """The variable that says which cards of this machine a run may use; nothing where a queue says it."""
        if not _is_here(self._place):
            return {}
        every = os.environ.get(SHOWN)
        cards = [str(n) for n in range(self._place.gpus({}))] if every is None else every.split(",")
        taken = {card for held in self._cards.values() for card in held}
        self._cards[key] = [card for card in cards if card not in taken][: self._plan.config.gpus]
        return {SHOWN: ",".join(self._cards[key])}


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


def cards_of(folder: Path) -> list[str]:
    """The cards of this machine that a run's command was shown."""
    shown = str((_spec(folder) or {"env": {}})["env"].get(SHOWN, ""))
    return shown.split(",") if shown else []


def _spec(folder: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads((folder / SPEC).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def _is_here(place: Place) -> bool:
    """Whether jobs of a place see the cards of this machine."""
    return place.name == "local"
